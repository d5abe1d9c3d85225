//! Names of the parts of a split model, as llama.cpp's `llama-gguf-split` gives them: `NAME-00001-of-00003.gguf`.

use std::path::{Path, PathBuf};

/// A path that names one part of a split model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Directory and name, up to the numbers.
    stem: PathBuf,
    /// Which part, counted from 1.
    pub number: usize,
    /// How many there are; at least `number`.
    pub count: usize,
}

impl Part {
    /// What the path says; none where it is not the name of a part.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = name.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| {
            let all = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
            all.then(|| text.parse().ok()).flatten()
        };
        let (number, count) = (digits(number)?, digits(count)?);
        let stem = path.with_file_name(stem);
        (1..=count).contains(&number).then_some(Self { stem, number, count })
    }

    /// Where another part of the same model is.
    pub fn sibling(&self, number: usize) -> PathBuf {
        let mut path = self.stem.as_os_str().to_owned();
        path.push(format!("-{number:05}-of-{:05}.gguf", self.count));
        path.into()
    }
}

/// All files of the model whose first or only file is at `path`, in order.
pub fn files(path: &Path) -> Vec<PathBuf> {
    match Part::of(path) {
        Some(part) if part.number == 1 => (1..=part.count).map(|n| part.sibling(n)).collect(),
        _ => vec![path.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_as_llama_cpp_names_them() {
        let part = Part::of(Path::new("/m/a-b-00002-of-00003.gguf")).unwrap();
        assert_eq!((part.number, part.count), (2, 3));
        assert_eq!(part.sibling(1), Path::new("/m/a-b-00001-of-00003.gguf"));
        for other in [
            "/m/a.gguf",
            "/m/a-2-of-3.gguf",
            "/m/a-00004-of-00003.gguf",
            "/m/a-00000-of-00003.gguf",
            "/m/a-0000x-of-00003.gguf",
            "/m/a-00001-of-00003.bin",
            "/m/00001-of-00003.gguf",
        ] {
            assert_eq!(Part::of(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_first_part_stands_for_all() {
        let names = ["/m/a-00001-of-00002.gguf", "/m/a-00002-of-00002.gguf"];
        assert_eq!(files(Path::new(names[0])), names.map(PathBuf::from));
        assert_eq!(files(Path::new(names[1])), [Path::new(names[1])]);
        assert_eq!(files(Path::new("/m/a.gguf")), [Path::new("/m/a.gguf")]);
    }
}
