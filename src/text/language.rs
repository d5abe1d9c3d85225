//! Which language a file is in, told by its name: editors say it themselves, files on a disk do not.

use std::path::Path;

/// An editor's language id for `path` (`python`); the extension itself where none is known for it.
pub fn language_of(path: &Path) -> &str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    match extension {
        "py" | "pyi" => "python",
        "rs" => "rust",
        "c" | "h" => "c",
        "cc" | "cpp" | "cxx" | "hpp" | "C" => "cpp",
        "js" | "mjs" | "cjs" => "javascript",
        "ts" => "typescript",
        "go" => "go",
        "java" => "java",
        "rb" => "ruby",
        "php" => "php",
        "cs" => "csharp",
        "sh" | "bash" => "shellscript",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_names_the_language() {
        let names = ["a/b.py", "b.C", "b.c", "x.y.cpp", "Makefile", "a.zig"];
        let languages = names.map(|name| language_of(Path::new(name)));
        assert_eq!(languages, ["python", "cpp", "c", "cpp", "", "zig"]);
    }
}
