/** The section `cosec-ls` of the settings, as plain values. */

/** Settings of this extension, which the server does not know. */
const OWN = ['server', 'trace'];

/** Takes out what is not the server's, and keeps it from asking or fetching: the extension asks, once, with the size. */
export function forServer(section: unknown): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const [name, value] of Object.entries((section ?? {}) as Record<string, unknown>)) {
    if (!OWN.includes(name)) {
      settings[name] = value;
    }
  }
  if (settings['download'] === 'ask') {
    settings['download'] = 'never';
  }
  return settings;
}

/** Whether suggestions are on in a language. */
export function languageEnabled(languages: Record<string, boolean>, language: string): boolean {
  return languages[language] ?? languages['*'] ?? true;
}

/** The setting `languages` with one language turned over; an entry that says what `*` says anyway is left out. */
export function withLanguage(languages: Record<string, boolean>, language: string, enabled: boolean): Record<string, boolean> {
  const changed = Object.fromEntries(Object.entries(languages).filter(([name]) => name !== language));
  return (changed['*'] ?? true) === enabled ? changed : { ...changed, [language]: enabled };
}
