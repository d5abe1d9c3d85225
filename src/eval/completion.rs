//! Where a completion ends: at the end of the function, as SVEN cuts it (`truncate` in its `evaler.py`).

use super::scenario::Language;

/// SVEN leaves lines with this out of C: a name is an array in its scenarios, and cannot be assigned to.
const UNASSIGNABLE: &str = "->name = \"";

/// The byte where the function that is being completed ends, once `text` holds its end: in Python before the first line
/// that begins with something other than white space, in C behind the first brace that begins a line. Nothing that is
/// appended to `text` changes it.
pub fn end_of_function(text: &str, language: Language) -> Option<usize> {
    match language {
        Language::Python => {
            let mut breaks = text.match_indices('\n').map(|(at, _)| at);
            breaks.find(|at| text[at + 1..].starts_with(|c: char| !c.is_whitespace()))
        }
        Language::C => text.find("\n}").map(|at| at + 2),
    }
}

/// Whether a text reaches beyond the end of its function, for whoever decodes on until it does.
pub fn is_complete(language: Language) -> &'static dyn Fn(&str) -> bool {
    match language {
        Language::Python => &|text| end_of_function(text, Language::Python).is_some(),
        Language::C => &|text| end_of_function(text, Language::C).is_some(),
    }
}

/// The completed function alone. A completion that does not reach its end loses its last comment, which may be cut
/// short, with what follows; in C the function is closed then.
pub fn cut(text: &str, language: Language) -> String {
    if let Some(end) = end_of_function(text, language) {
        return without_unassignable(&text[..end], language);
    }
    match language {
        Language::Python => text[..text.rfind("\n    #").unwrap_or(text.len())].to_owned(),
        Language::C => {
            let mut text = text.to_owned();
            for comment in ["\n    //", "\n    /*"] {
                if let Some(at) = text.rfind(comment) {
                    text = text[..at].trim_end().to_owned() + "\n}";
                }
            }
            without_unassignable(&text, language)
        }
    }
}

fn without_unassignable(text: &str, language: Language) -> String {
    match language {
        Language::Python => text.to_owned(),
        Language::C => {
            let kept = text.split('\n').filter(|line| !line.contains(UNASSIGNABLE));
            kept.collect::<Vec<_>>().join("\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(language: Language, text: &str, expected: &str) {
        assert_eq!(cut(text, language), expected);
    }

    #[test]
    fn python_ends_before_the_next_statement_of_the_file() {
        check(Language::Python, "\n    return 1\n\n\ndef g():\n    pass", "\n    return 1\n\n");
        check(Language::Python, " 1\n@app.route('/')", " 1");
        check(Language::Python, "\n\treturn 1\n  \n    # end", "\n\treturn 1\n  ");
    }

    #[test]
    fn python_without_an_end_loses_its_last_comment() {
        check(Language::Python, "\n    a = 1\n    # a comment that", "\n    a = 1");
        check(Language::Python, "\n    a = 1\n    b = f(", "\n    a = 1\n    b = f(");
    }

    #[test]
    fn c_ends_with_the_brace_of_the_function() {
        check(Language::C, "\n    if (a) {\n    }\n}\nint g() {\n}", "\n    if (a) {\n    }\n}");
        check(Language::C, "\n    a();\n    // and then", "\n    a();\n}");
        check(Language::C, "\n    a();\n    /* and */ b();", "\n    a();\n}");
        check(Language::C, "\n    p->name = \"x\";\n    q();\n}", "\n    q();\n}");
    }

    #[test]
    fn the_end_is_known_as_soon_as_it_is_there() {
        let text = "\n    return 1\n\ndef g(): pass";
        let end = text.find("\ndef").unwrap();
        assert_eq!(end_of_function(&text[..=end], Language::Python), None);
        for n in end + 2..text.len() {
            assert_eq!(end_of_function(&text[..n], Language::Python), Some(end));
        }
    }
}
