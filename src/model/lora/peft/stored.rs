//! A safetensors file in memory: its header, held against the bytes that follow, and tensors one at a time.
//!
//! Eight bytes of the header's length, the header in JSON, and the numbers without a gap. Nothing is made of a tensor
//! before its type, its shape and its place were looked at.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::Error;

/// The reference implementation's limit of a header.
const LONGEST_HEADER: u64 = 100_000_000;

/// What a file holds, by name.
pub(super) struct Stored<'a> {
    pub(super) notes: BTreeMap<String, String>,
    entries: BTreeMap<String, Entry>,
    numbers: &'a [u8],
}

/// A tensor as the header describes it.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The header's entries.
#[derive(Default)]
struct Entries {
    notes: BTreeMap<String, String>,
    tensors: BTreeMap<String, Entry>,
}

impl<'a> Stored<'a> {
    /// Reads the header of a whole file.
    ///
    /// # Errors
    /// If it is cut off, no header, or does not describe all of the bytes that follow, each of them once.
    pub(super) fn read(file: &'a [u8]) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Safetensors(reason.to_owned());
        let cut_off = || wrong("it ends inside its header");
        if file.starts_with(b"version https://git-lfs") {
            return Err(wrong(
                "it is a git-lfs pointer and not the file itself: `git lfs pull` fetches that",
            ));
        }
        if file.starts_with(b"PK\x03\x04") {
            return Err(wrong("it is a PyTorch file under another name"));
        }
        let (len, rest) = file.split_first_chunk::<8>().ok_or_else(cut_off)?;
        let len = u64::from_le_bytes(*len);
        let split = usize::try_from(len).ok().filter(|len| *len <= rest.len());
        let (header, numbers) = rest.split_at(split.ok_or_else(cut_off)?);
        if len > LONGEST_HEADER {
            return Err(wrong(&format!("its header has {len} bytes")));
        }
        let entries: Entries =
            serde_json::from_slice(header).map_err(|error| wrong(&error.to_string()))?;
        let stored = Self { notes: entries.notes, entries: entries.tensors, numbers };
        stored.check_places()?;
        Ok(stored)
    }

    /// All names, in the alphabet's order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// A matrix of this shape, in finite 32-bit floats.
    ///
    /// # Errors
    /// If there is none, it is of another shape or of a type that no trainer of adapters writes, or a number is not
    /// finite.
    pub(super) fn matrix(
        &self,
        name: &str,
        expected: [usize; 2],
        device: &Device,
    ) -> Result<Tensor, Error> {
        let tensor = name.to_owned();
        let Some(entry) = self.entries.get(name) else { return Err(Error::Half(tensor)) };
        let dtype = match entry.dtype.as_str() {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            other => return Err(Error::Type { tensor, got: other.to_owned() }),
        };
        if entry.shape != expected {
            return Err(Error::Shape { tensor, expected, got: entry.shape.clone() });
        }
        let [start, end] = entry.data_offsets;
        let bytes = &self.numbers[start..end];
        let elements = expected[0].checked_mul(expected[1]);
        if elements.and_then(|n| n.checked_mul(dtype.size_in_bytes())) != Some(bytes.len()) {
            let reason = format!("tensor `{name}` has {} bytes for its shape", bytes.len());
            return Err(Error::Safetensors(reason));
        }
        let matrix = Tensor::from_raw_buffer(bytes, dtype, &expected, &Device::Cpu)?;
        let matrix = matrix.to_dtype(DType::F32)?;
        let numbers = matrix.flatten_all()?.to_vec1::<f32>()?;
        match numbers.iter().all(|number| number.is_finite()) {
            true => Ok(matrix.to_device(device)?),
            false => Err(Error::NotFinite(tensor)),
        }
    }

    /// Tensors follow each other without a gap and fill the file.
    fn check_places(&self) -> Result<(), Error> {
        let mut places: Vec<_> = self.entries.iter().collect();
        places.sort_by_key(|(_, entry)| entry.data_offsets);
        let mut at = 0;
        for (name, Entry { data_offsets: [start, end], .. }) in places {
            if *start != at || end < start || *end > self.numbers.len() {
                let len = self.numbers.len();
                let reason = format!("tensor `{name}` has bytes {start} to {end} of {len}");
                return Err(Error::Safetensors(format!("{reason}, where {at} was to be next")));
            }
            at = *end;
        }
        match at == self.numbers.len() {
            true => Ok(()),
            false => {
                let len = self.numbers.len();
                Err(Error::Safetensors(format!("its tensors have {at} bytes, but {len} follow")))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(EntriesVisitor)
    }
}

/// Unlike a map, notices names that come twice.
struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Entries::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                entries.notes = map.next_value::<Option<_>>()?.unwrap_or_default();
                continue;
            }
            let entry: Entry = map
                .next_value()
                .map_err(|error| A::Error::custom(format_args!("tensor `{name}`: {error}")))?;
            if entries.tensors.contains_key(&name) {
                return Err(A::Error::custom(format_args!("tensor `{name}` is there twice")));
            }
            entries.tensors.insert(name, entry);
        }
        Ok(entries)
    }
}
