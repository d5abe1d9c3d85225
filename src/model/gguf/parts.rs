//! The other parts of a split model: where they are, and whether they belong together.
//!
//! As llama.cpp reads them: metadata is the first part's, every part says which it is (`split.no`, counted from 0) of how
//! many (`split.count`), and their tensors add up to `split.tensors.count`.

use std::path::Path;

use super::{Gguf, Header, Part, Value};
use crate::model::Error;
use crate::registry::split;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// Most parts: names have five digits.
const MOST_PARTS: usize = 99_999;

impl Gguf {
    /// Opens what belongs to the file at `path`, if that is the first part of several.
    pub(super) fn open_other_parts(&mut self, path: &Path) -> Result<(), Error> {
        let wrong = |reason| Error::Split { path: path.to_owned(), reason };
        let named = split::Part::of(path);
        let count = match self.has_key(COUNT) {
            true => self.integer(COUNT, 0..=MOST_PARTS)?,
            false => 0,
        };
        if count <= 1 {
            return match named {
                // A part whose keys were lost would lack most tensors of the model.
                Some(named) if named.count > 1 => Err(wrong(format!(
                    "its name says that it is part {} of {}, but `{COUNT}` does not",
                    named.number, named.count
                ))),
                _ => Ok(()),
            };
        }
        let number = self.integer(NUMBER, 0..=count - 1)? + 1;
        let Some(named) = named else {
            return Err(wrong(format!(
                "it is part {number} of {count}, and the others are found by name: give them \
                 their names back (NAME-00001-of-{count:05}.gguf), or join them with \
                 `llama-gguf-split --merge`"
            )));
        };
        if (named.number, named.count) != (number, count) {
            return Err(wrong(format!(
                "its name says part {} of {}, its metadata part {number} of {count}",
                named.number, named.count
            )));
        }
        if number != 1 {
            let first = named.sibling(1);
            let reason = format!("it is part {number} of {count}; open {}", first.display());
            return Err(wrong(reason));
        }
        for number in 2..=count {
            self.open_part(path, &named.sibling(number), [number, count])?;
        }
        self.check_tensor_count(path)
    }

    /// Adds the tensors of one part.
    fn open_part(&mut self, first: &Path, path: &Path, place: [usize; 2]) -> Result<(), Error> {
        let [number, count] = place;
        let (part, header) = Part::open(path).map_err(|error| match error {
            Error::Io { path, source } => Error::Split {
                path: first.to_owned(),
                reason: format!(
                    "part {number} of {count} is missing: {}: {source}",
                    path.display()
                ),
            },
            other => other,
        })?;
        let wrong = |reason| Error::Split { path: path.to_owned(), reason };
        for (key, expected) in [(NUMBER, number - 1), (COUNT, count)] {
            let got = header.integer(key);
            if got != Some(expected as i128) {
                let got = got.map_or("missing".to_owned(), |got| got.to_string());
                let reason =
                    format!("`{key}` is {got}, but as part {number} of {count} it must be");
                return Err(wrong(format!("{reason} {expected}")));
            }
        }
        let part_idx = self.parts.len();
        for (name, info) in header.tensors {
            let reason = format!("tensor `{name}` is in an earlier part too");
            if self.tensors.insert(name, (part_idx, info)).is_some() {
                return Err(wrong(reason));
            }
        }
        self.parts.push(part);
        Ok(())
    }

    fn check_tensor_count(&self, path: &Path) -> Result<(), Error> {
        if !self.has_key(TENSORS) {
            return Ok(());
        }
        let (expected, got) = (self.integer(TENSORS, 0..=usize::MAX)?, self.tensors.len());
        match expected == got {
            true => Ok(()),
            false => {
                let reason = format!("`{TENSORS}` is {expected}, but the parts have {got} tensors");
                Err(Error::Split { path: path.to_owned(), reason })
            }
        }
    }
}

impl Header {
    fn integer(&self, key: &str) -> Option<i128> {
        match self.metadata.get(key) {
            Some(Value::Integer(n)) => Some(*n),
            _ => None,
        }
    }
}
