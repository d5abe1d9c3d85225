// A machine without models: asked once with the size, fetched with progress, and without a network one sentence.
export async function MISSING() {}
