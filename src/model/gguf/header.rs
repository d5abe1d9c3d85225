//! The header of a GGUF file: what the metadata says, and where each tensor's bytes are.
//!
//! It reads the mapped bytes and copies only names: texts and arrays stay where they are, as ranges. Every count,
//! length, shape and offset is held against the file before anything is made of it, so that a header may say what it
//! likes and costs no more memory than its own names.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use candle_core::quantized::GgmlDType;

use crate::model::Error;

/// What a file says of itself.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: HashMap<String, Value>,
    pub(super) tensors: HashMap<String, TensorInfo>,
}

/// A metadata value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Of any width, signed or not.
    Integer(i128),
    Float(f64),
    Flag(bool),
    /// Bytes of the file that should be UTF-8.
    Text(Range<usize>),
    Array(Array),
}

/// An array of values of one kind.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) kind: Kind,
    /// Number of elements.
    pub(super) len: usize,
    /// All of them, one after the other; texts with their lengths.
    pub(super) bytes: Range<usize>,
}

/// A type of values; the discriminants are the file format's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Text = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

/// A tensor's type, shape and place.
#[derive(Clone, Debug)]
pub(super) struct TensorInfo {
    pub(super) dtype: GgmlDType,
    /// Outermost first, as everywhere in this program; none is 0.
    pub(super) dims: Vec<usize>,
    /// In the file, and aligned.
    pub(super) bytes: Range<usize>,
}

const MAGIC: &[u8; 4] = b"GGUF";

/// Version 1 has lengths of 32 bits; llama.cpp does not read it any more either.
const VERSIONS: [u32; 2] = [2, 3];

/// Where the data of tensors begins, unless `general.alignment` says otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;

/// The format asks for a multiple of 8 and llama.cpp for a power of two; pages are the largest that anybody has.
const ALIGNMENTS: std::ops::RangeInclusive<u64> = 8..=1 << 20;

/// Most metadata entries, and most tensors: twenty times what the largest models have.
const MOST_ENTRIES: u64 = 1 << 20;

/// Most bytes of a name; the format's limit for keys.
const LONGEST_NAME: usize = (1 << 16) - 1;

/// ggml's `GGML_MAX_DIMS`.
const MOST_DIMS: u32 = 4;

/// Why a header cannot be read; whoever knows the name of the entry puts it in front.
struct Fault(String);

impl Fault {
    fn new<T>(reason: impl Into<String>) -> Result<T, Self> {
        Err(Self(reason.into()))
    }

    fn of(self, place: impl std::fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl Header {
    /// Reads the header of the file at `path`, whose content is `bytes`.
    ///
    /// # Errors
    /// If it is no GGUF header, is cut off, contradicts itself or the file's length, or holds what is not read here.
    pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let header = |Fault(reason)| Error::Header { path: path.to_owned(), reason };
        let mut reader = Reader { bytes, at: 0 };
        let counts = reader.counts().map_err(header)?;
        let metadata = reader.metadata(counts.metadata).map_err(header)?;
        let described = reader.tensors(counts.tensors).map_err(header)?;
        let alignment = alignment(&metadata)?;
        let data = (reader.at as u64).next_multiple_of(alignment);
        let mut tensors = HashMap::with_capacity(described.len());
        for (name, tensor) in described {
            let info = tensor.place(alignment, data).map_err(|fault| {
                let Fault(reason) = fault.of(format_args!("tensor `{name}`"));
                Error::Header { path: path.to_owned(), reason }
            })?;
            let (needed, len) = (info.bytes.end as u64, bytes.len() as u64);
            if needed > len {
                return Err(Error::Truncated { path: path.to_owned(), tensor: name, needed, len });
            }
            tensors.insert(name, info);
        }
        check_overlaps(&tensors).map_err(header)?;
        Ok(Self { metadata, tensors })
    }
}

/// `general.alignment`, or its default.
fn alignment(metadata: &HashMap<String, Value>) -> Result<u64, Error> {
    const KEY: &str = "general.alignment";
    let says = |reason: String| Err(Error::Metadata { key: KEY.to_owned(), reason });
    match metadata.get(KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::Integer(n)) => match u64::try_from(*n) {
            Ok(n) if n.is_power_of_two() && ALIGNMENTS.contains(&n) => Ok(n),
            _ => says(format!("is {n}, which is no power of two from 8 to 1048576")),
        },
        Some(other) => says(format!("expected an integer, found {}", other.kind_name())),
    }
}

/// No byte belongs to two tensors.
fn check_overlaps(tensors: &HashMap<String, TensorInfo>) -> Result<(), Fault> {
    let mut places: Vec<_> = tensors.iter().map(|(name, info)| (&info.bytes, name)).collect();
    places.sort_unstable_by_key(|(bytes, name)| (bytes.start, *name));
    for pair in places.windows(2) {
        let [(first, name), (second, other)] = pair else { continue };
        if first.end > second.start {
            return Fault::new(format!("tensors `{name}` and `{other}` overlap"));
        }
    }
    Ok(())
}

/// How many entries a header has.
struct Counts {
    metadata: u64,
    tensors: u64,
}

/// A tensor as the header describes it.
struct Described {
    dtype: GgmlDType,
    dims: Vec<usize>,
    len: u64,
    /// Counted from where the data of tensors begins.
    offset: u64,
}

impl Described {
    /// Finds the tensor's bytes, which may end beyond the file.
    fn place(self, alignment: u64, data: u64) -> Result<TensorInfo, Fault> {
        let Self { dtype, dims, len, offset } = self;
        if !offset.is_multiple_of(alignment) {
            let reason = format!("starts at byte {offset}, which is not aligned to {alignment}");
            return Fault::new(reason);
        }
        let start = data.saturating_add(offset);
        let place = |byte| usize::try_from(byte).unwrap_or(usize::MAX);
        let bytes = place(start)..place(start.saturating_add(len));
        Ok(TensorInfo { dtype, dims, bytes })
    }
}

/// Walks over a header.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn counts(&mut self) -> Result<Counts, Fault> {
        if self.bytes.is_empty() {
            return Fault::new("it is empty");
        }
        if !self.bytes.starts_with(MAGIC) {
            return Fault::new(what_else(self.bytes));
        }
        self.at = MAGIC.len();
        let version = self.u32()?;
        match version {
            _ if VERSIONS.contains(&version) => {}
            _ if VERSIONS.contains(&version.swap_bytes()) => {
                return Fault::new("it is for big-endian machines, which is not supported");
            }
            _ => return Fault::new(format!("version {version} is not supported, 2 and 3 are")),
        }
        let tensors = self.u64()?;
        let metadata = self.u64()?;
        // Name, type and value; name, number of dimensions, one dimension, type and offset.
        self.check_count("tensor_count", tensors, 8 + 4 + 8 + 4 + 8)?;
        self.check_count("metadata_kv_count", metadata, 8 + 4 + 1)?;
        Ok(Counts { metadata, tensors })
    }

    /// A count must fit the rest of the file, with entries as short as they can be.
    fn check_count(&self, field: &str, count: u64, shortest: u64) -> Result<(), Fault> {
        let left = self.left();
        if count > MOST_ENTRIES || count.saturating_mul(shortest) > left as u64 {
            let reason = format!("`{field}` is {count}, but only {left} bytes follow");
            return Fault::new(reason);
        }
        Ok(())
    }

    fn metadata(&mut self, count: u64) -> Result<HashMap<String, Value>, Fault> {
        let mut metadata = HashMap::new();
        for n in 0..count {
            let key = self.name().map_err(|fault| fault.of(format_args!("metadata key {n}")))?;
            let value =
                self.entry_value().map_err(|fault| fault.of(format_args!("metadata `{key}`")))?;
            if metadata.insert(key.to_owned(), value).is_some() {
                return Fault::new(format!("metadata `{key}` is there twice"));
            }
        }
        Ok(metadata)
    }

    fn entry_value(&mut self) -> Result<Value, Fault> {
        let kind = self.kind()?;
        match kind {
            Kind::Text => Ok(Value::Text(self.text()?)),
            Kind::Array => Ok(Value::Array(self.array()?)),
            _ => {
                let bytes = self.take(kind.width())?;
                kind.decode(bytes).ok_or_else(|| Fault("is neither true nor false".to_owned()))
            }
        }
    }

    fn array(&mut self) -> Result<Array, Fault> {
        let kind = self.kind()?;
        if kind == Kind::Array {
            return Fault::new("is an array of arrays, which is not supported");
        }
        let len = self.u64()?;
        let shortest = if kind == Kind::Text { 8 } else { kind.width() };
        let len = usize::try_from(len).ok().filter(|len| *len <= self.left() / shortest);
        let Some(len) = len else {
            return Fault::new("is an array that is longer than the file");
        };
        let start = self.at;
        match kind {
            Kind::Text => (0..len).try_for_each(|_| self.text().map(drop))?,
            _ => drop(self.take(len * shortest)?),
        }
        Ok(Array { kind, len, bytes: start..self.at })
    }

    fn tensors(&mut self, count: u64) -> Result<Vec<(String, Described)>, Fault> {
        let mut tensors: HashMap<String, Described> = HashMap::new();
        for n in 0..count {
            let name = self.name().map_err(|fault| fault.of(format_args!("name of tensor {n}")))?;
            let tensor =
                self.described().map_err(|fault| fault.of(format_args!("tensor `{name}`")))?;
            if tensors.insert(name.to_owned(), tensor).is_some() {
                return Fault::new(format!("tensor `{name}` is there twice"));
            }
        }
        let mut tensors: Vec<_> = tensors.into_iter().collect();
        tensors.sort_unstable_by(|(a, x), (b, y)| (x.offset, a).cmp(&(y.offset, b)));
        Ok(tensors)
    }

    fn described(&mut self) -> Result<Described, Fault> {
        let n_dims = self.u32()?;
        if n_dims == 0 || n_dims > MOST_DIMS {
            return Fault::new(format!("has {n_dims} dimensions, supported are 1 to {MOST_DIMS}"));
        }
        let mut dims = Vec::with_capacity(MOST_DIMS as usize);
        for _ in 0..n_dims {
            dims.push(self.u64()?);
        }
        let dtype = dtype(self.u32()?)?;
        let offset = self.u64()?;
        let (block, row) = (dtype.block_size() as u64, dims[0]);
        if !row.is_multiple_of(block) {
            return Fault::new(format!("has rows of {row} weights, but blocks of {block}"));
        }
        let elements = dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim));
        let elements = elements.filter(|n| *n > 0 && usize::try_from(*n).is_ok());
        let len = elements.and_then(|n| (n / block).checked_mul(dtype.type_size() as u64));
        let Some(len) = len else {
            return Fault::new(format!("has the shape {dims:?}, which no tensor can have"));
        };
        dims.reverse();
        let dims = dims.into_iter().map(|dim| dim as usize).collect();
        Ok(Described { dtype, dims, len, offset })
    }

    fn name(&mut self) -> Result<&'a str, Fault> {
        let range = self.text()?;
        if range.is_empty() || range.len() > LONGEST_NAME {
            return Fault::new(format!("a name of {} bytes", range.len()));
        }
        std::str::from_utf8(&self.bytes[range]).map_err(|_| Fault("no UTF-8".to_owned()))
    }

    fn text(&mut self) -> Result<Range<usize>, Fault> {
        let len = self.u64()?;
        let start = self.at;
        match usize::try_from(len).ok().filter(|len| *len <= self.left()) {
            Some(len) => self.take(len).map(|_| start..self.at),
            None => Fault::new(format!("a text of {len} bytes, but only {} follow", self.left())),
        }
    }

    fn kind(&mut self) -> Result<Kind, Fault> {
        let number = self.u32()?;
        Kind::from_number(number).ok_or_else(|| Fault(format!("is of the unknown type {number}")))
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        Ok(self.take(4)?.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte)))
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        Ok(self.take(8)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        if len > self.left() {
            return Fault::new("the file ends inside");
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        const KINDS: [Kind; 13] = [
            Kind::U8,
            Kind::I8,
            Kind::U16,
            Kind::I16,
            Kind::U32,
            Kind::I32,
            Kind::F32,
            Kind::Bool,
            Kind::Text,
            Kind::Array,
            Kind::U64,
            Kind::I64,
            Kind::F64,
        ];
        KINDS.get(usize::try_from(number).ok()?).copied()
    }

    /// Bytes of a number or a flag; 0 for texts and arrays, whose length is written before them.
    pub(super) fn width(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Text | Self::Array => 0,
        }
    }

    /// A number or a flag from its bytes; none for a flag that is neither 0 nor 1, and for other kinds.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Value> {
        let mut wide = [0; 8];
        wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let n = u64::from_le_bytes(wide);
        Some(match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => Value::Integer(n.into()),
            Self::I8 => Value::Integer((n as i8).into()),
            Self::I16 => Value::Integer((n as i16).into()),
            Self::I32 => Value::Integer((n as i32).into()),
            Self::I64 => Value::Integer((n as i64).into()),
            Self::F32 => Value::Float(f32::from_bits(n as u32).into()),
            Self::F64 => Value::Float(f64::from_bits(n)),
            Self::Bool if n <= 1 => Value::Flag(n == 1),
            Self::Bool | Self::Text | Self::Array => return None,
        })
    }
}

impl Value {
    /// What to call the value in a message.
    pub(super) fn kind_name(&self) -> &'static str {
        match self {
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Flag(_) => "a boolean",
            Self::Text(_) => "a string",
            Self::Array(Array { kind: Kind::Text, .. }) => "an array of strings",
            Self::Array(Array { kind: Kind::Bool, .. }) => "an array of booleans",
            Self::Array(_) => "an array of numbers",
        }
    }
}

/// ggml's numbers of the types of tensors.
fn dtype(number: u32) -> Result<GgmlDType, Fault> {
    Ok(match number {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        9 => GgmlDType::Q8_1,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        15 => GgmlDType::Q8K,
        30 => GgmlDType::BF16,
        16..=23 | 29 => {
            return Fault::new(format!(
                "is in one of the IQ quantizations (type {number}), which are not supported"
            ));
        }
        _ => return Fault::new(format!("is of type {number}, which is not supported")),
    })
}

/// What a file without GGUF's magic is, as far as its beginning tells, and what to do about it.
fn what_else(bytes: &[u8]) -> String {
    let starts = |with: &[u8]| bytes.starts_with(with);
    let text = bytes.trim_ascii_start();
    let is_json_after_length = bytes.len() > 8 && bytes[8..].trim_ascii_start().starts_with(b"{");
    let what = match () {
        () if starts(b"version https://git-lfs") => {
            "it is a git-lfs pointer and not the file itself: `git lfs pull` fetches that"
        }
        () if starts(b"PK\x03\x04") || starts(b"\x80\x02") => {
            "its magic is that of a PyTorch checkpoint or another archive: llama.cpp's \
             convert_hf_to_gguf.py makes a GGUF file of a model"
        }
        () if is_json_after_length => {
            "it is a safetensors file: llama.cpp's convert_hf_to_gguf.py makes a GGUF file of a \
             model"
        }
        () if starts(b"FUGG") => "it is for big-endian machines, which is not supported",
        () if [b"lmgg", b"fmgg", b"tjgg", b"algg"].into_iter().any(|magic| starts(magic)) => {
            "it is in a format of llama.cpp that GGUF replaced"
        }
        () if text.starts_with(b"<") => "it is a web page",
        () if text.starts_with(b"{") => "it is JSON",
        () if MAGIC.starts_with(bytes) => "it ends inside its magic",
        () => "its magic is not GGUF's",
    };
    what.to_owned()
}
