//! A GGUF file: metadata, and tensors by name, read straight from the mapped file.
//!
//! The one memory map of the program. A `header` is held against the file's length before anything is made of it, so
//! that a truncated or corrupted file ends in an [`Error`] that names the key or the tensor. A model that llama.cpp's
//! `llama-gguf-split` wrote in several files is one here: its first part is opened, and finds the others (`parts`).

mod header;
mod parts;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use super::Error;
use crate::kernel::quant::{BlockFormat, PackedMatrix};
use header::{Array, Header, Kind, TensorInfo, Value};

/// The embedding table, in llama.cpp's names of tensors.
const EMBEDDINGS: &str = "token_embd.weight";

/// An open GGUF file.
pub struct Gguf {
    /// The file, or all parts of a split one in order.
    parts: Vec<Part>,
    /// Of the first part.
    metadata: HashMap<String, Value>,
    /// Where tensors are: which part, and where in it.
    tensors: HashMap<String, (usize, TensorInfo)>,
}

/// A mapped file.
struct Part {
    path: PathBuf,
    bytes: Mmap,
}

impl std::fmt::Debug for Gguf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gguf").field("path", &self.parts[0].path).finish_non_exhaustive()
    }
}

impl Gguf {
    /// Maps `path` and reads its header; of a split model `path` is the first part, and the others are beside it.
    ///
    /// # Errors
    /// If a file cannot be read, its header is not whole or contradicts the file, or a part of a split model is missing
    /// or does not belong to the others.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (part, header) = Part::open(path)?;
        let tensors = header.tensors.into_iter().map(|(name, info)| (name, (0, info))).collect();
        let mut gguf = Self { parts: vec![part], metadata: header.metadata, tensors };
        gguf.open_other_parts(path)?;
        Ok(gguf)
    }

    /// Whether there is such a metadata key.
    pub fn has_key(&self, key: &str) -> bool {
        self.metadata.contains_key(key)
    }

    /// All metadata keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// A metadata string.
    ///
    /// # Errors
    /// If it is missing or no string.
    pub fn string(&self, key: &str) -> Result<&str, Error> {
        match self.value(key)? {
            Value::Text(range) => self.text(key, &self.metadata_bytes()[range.clone()]),
            other => Err(wrong_type(key, "a string", other)),
        }
    }

    /// A metadata number of any numeric type.
    ///
    /// # Errors
    /// If it is missing, no number, or not finite.
    pub fn number(&self, key: &str) -> Result<f64, Error> {
        let value = self.value(key)?;
        match as_number(value) {
            Some(number) if number.is_finite() => Ok(number),
            Some(number) => Err(metadata_error(key, format!("is {number}"))),
            None => Err(wrong_type(key, "a number", value)),
        }
    }

    /// A metadata integer of any width within `range`.
    ///
    /// # Errors
    /// If it is missing, no integer, or outside of the range.
    pub fn integer(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize, Error> {
        match self.value(key)? {
            Value::Integer(n) => match usize::try_from(*n).ok().filter(|n| range.contains(n)) {
                Some(n) => Ok(n),
                None => {
                    let (from, to) = (range.start(), range.end());
                    Err(metadata_error(key, format!("is {n}, which is not from {from} to {to}")))
                }
            },
            other => Err(wrong_type(key, "an integer", other)),
        }
    }

    /// A metadata flag.
    ///
    /// # Errors
    /// If it is missing or no flag.
    pub fn flag(&self, key: &str) -> Result<bool, Error> {
        match self.value(key)? {
            Value::Flag(flag) => Ok(*flag),
            other => Err(wrong_type(key, "a boolean", other)),
        }
    }

    /// Number of elements of a metadata array.
    ///
    /// # Errors
    /// If it is missing or no array.
    pub fn array_len(&self, key: &str) -> Result<usize, Error> {
        Ok(self.array(key)?.len)
    }

    /// A metadata array of strings.
    ///
    /// # Errors
    /// If it is missing, or an element is no string.
    pub fn strings(&self, key: &str) -> Result<Vec<&str>, Error> {
        let array = self.array(key)?;
        if array.kind != Kind::Text && array.len > 0 {
            let value = Value::Array(array.clone());
            return Err(wrong_type(key, "an array of strings", &value));
        }
        let mut rest = &self.metadata_bytes()[array.bytes.clone()];
        let mut strings = Vec::with_capacity(array.len);
        while let Some((len, after)) = rest.split_first_chunk::<8>() {
            let (text, after) = after.split_at(u64::from_le_bytes(*len) as usize);
            strings.push(self.text(key, text)?);
            rest = after;
        }
        Ok(strings)
    }

    /// A metadata array of numbers, one after the other.
    ///
    /// # Errors
    /// If it is missing, or its elements are no numbers.
    pub fn numbers(&self, key: &str) -> Result<impl Iterator<Item = f64>, Error> {
        let array = self.array(key)?;
        let Array { kind, len, ref bytes } = *array;
        if kind.width() == 0 || kind == Kind::Bool {
            let value = Value::Array(array.clone());
            return Err(wrong_type(key, "an array of numbers", &value));
        }
        let elements = self.metadata_bytes()[bytes.clone()].chunks_exact(kind.width()).take(len);
        Ok(elements.filter_map(move |bytes| as_number(&kind.decode(bytes)?)))
    }

    /// Whether the file holds a tensor of this name.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// One tensor as it is stored, copied from the mapped file to `device`.
    ///
    /// # Errors
    /// If it is missing, or its bytes are not all in the file.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<QTensor, Error> {
        let (part, info) = self.info(name)?;
        let bytes = part.tensor_bytes(info);
        let storage = QStorage::from_data(Cow::Borrowed(bytes), device, info.dtype)?;
        part.release(bytes);
        Ok(QTensor::new(storage, info.dims.clone())?)
    }

    /// A matrix `[out, in]` for products, in the form that candle's CPU kernels compute with fastest, and exactly the
    /// same numbers: `Q5_0`, for which they have no SIMD, becomes `Q8_0` (each block keeps its scale, and 5 bits fit 8);
    /// and where they pack `Q8_0` only in rows of whole 256-blocks, shorter rows get zeros at their ends (the 0.5B
    /// model's are 896 wide). The padded width is the returned tensor's; [`Gguf::dims`] says the true one.
    ///
    /// # Errors
    /// As [`Gguf::tensor`].
    pub fn matrix(&self, name: &str, device: &Device) -> Result<QTensor, Error> {
        let (part, info) = self.info(name)?;
        let (dtype, dims) = (info.dtype, &info.dims[..]);
        let &[rows, width] = dims else { return self.tensor(name, device) };
        let padded = match super::device::packs_whole_blocks(device) {
            true => width.next_multiple_of(PACKED_BLOCK),
            false => width,
        };
        let bytes = part.tensor_bytes(info);
        let blocks = match dtype {
            GgmlDType::Q5_0 if device.is_cpu() => {
                pad_rows(bytes.chunks_exact(Q5_0_BLOCK).map(widen_block), [width, padded])
            }
            GgmlDType::Q8_0 if padded > width => {
                let blocks = bytes.chunks_exact(size_of::<Q8_0Block>());
                pad_rows(blocks.map(read_block), [width, padded])
            }
            _ => return self.tensor(name, device),
        };
        part.release(bytes);
        let storage =
            QStorage::from_data(Cow::Borrowed(as_bytes(&blocks)), device, GgmlDType::Q8_0)?;
        Ok(QTensor::new(storage, (rows, padded))?)
    }

    /// Lets `read` see the stored blocks of a tensor, and their format.
    ///
    /// # Errors
    /// As [`Gguf::tensor`], and what `read` returns.
    pub fn read_blocks<R>(
        &self,
        name: &str,
        read: impl FnOnce(GgmlDType, &[u8]) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let (part, info) = self.info(name)?;
        let bytes = part.tensor_bytes(info);
        let result = read(info.dtype, bytes);
        part.release(bytes);
        result
    }

    /// The embedding table `[V, E]`, as it is stored, and V.
    ///
    /// # Errors
    /// As [`Gguf::tensor`], and if its rows are not `model_dim` wide.
    pub fn embeddings(&self, model_dim: usize, device: &Device) -> Result<(QTensor, usize), Error> {
        let vocab = self.vocab(model_dim)?;
        Ok((self.tensor(EMBEDDINGS, device)?, vocab))
    }

    /// Rows of the embedding table, V.
    ///
    /// # Errors
    /// If the table is missing, or its rows are not `model_dim` wide.
    pub fn vocab(&self, model_dim: usize) -> Result<usize, Error> {
        match *self.dims(EMBEDDINGS)? {
            [vocab, width] if width == model_dim => Ok(vocab),
            ref dims => Err(Error::Shape {
                tensor: EMBEDDINGS.to_owned(),
                expected: vec![0, model_dim],
                got: dims.to_vec(),
            }),
        }
    }

    /// Rows of the embedding table, V; none where the file has no table.
    pub fn rows_of_embeddings(&self) -> Option<usize> {
        self.dims(EMBEDDINGS).ok()?.first().copied()
    }

    /// The name of the product with the vocabulary: small models tie it to the embedding table and leave it out of the
    /// file.
    pub fn head_name(&self) -> &'static str {
        if self.has_tensor("output.weight") { "output.weight" } else { EMBEDDINGS }
    }

    /// A vector `[len]` as `f32`.
    ///
    /// # Errors
    /// As [`Gguf::tensor`], and if it is of another shape or holds NaN or infinity.
    pub fn vector(&self, name: &str, len: usize, device: &Device) -> Result<Tensor, Error> {
        self.expect_shape(name, &[len])?;
        let vector = self.tensor(name, device)?.dequantize(device)?;
        // Read in any case, and short; what the blocks of matrices hold is not looked at.
        match vector.to_vec1::<f32>()?.iter().all(|number| number.is_finite()) {
            true => Ok(vector),
            false => Err(Error::NotFinite(name.to_owned())),
        }
    }

    /// Holds the shape of a tensor against what the hyperparameters say.
    ///
    /// # Errors
    /// If it is missing, or of another shape.
    pub fn expect_shape(&self, name: &str, shape: &[usize]) -> Result<(), Error> {
        let got = self.dims(name)?;
        if got != shape {
            let (expected, got) = (shape.to_vec(), got.to_vec());
            return Err(Error::Shape { tensor: name.to_owned(), expected, got });
        }
        Ok(())
    }

    /// Whether a tensor exists and is in a format that [`crate::kernel::quant`] multiplies.
    pub fn is_packable(&self, name: &str) -> bool {
        self.info(name).is_ok_and(|(_, info)| block_format(info.dtype).is_some())
    }

    /// A matrix `[out, in]`, repacked for [`crate::kernel::quant`].
    ///
    /// # Errors
    /// As [`Gguf::tensor`], and if it is of another shape, or in a format that is not multiplied there.
    pub fn packed_matrix(&self, name: &str, shape: [usize; 2]) -> Result<PackedMatrix, Error> {
        self.expect_shape(name, &shape)?;
        let unsupported = |dtype| Error::Unsupported(format!("`{name}` as {dtype:?}"));
        self.read_blocks(name, |dtype, blocks| {
            let format = block_format(dtype).ok_or_else(|| unsupported(dtype))?;
            PackedMatrix::pack(format, blocks, shape)
                .map_err(|source| Error::Pack { tensor: name.to_owned(), source })
        })
    }

    /// The shape of a tensor, as the file says.
    ///
    /// # Errors
    /// If it is missing.
    pub fn dims(&self, name: &str) -> Result<&[usize], Error> {
        Ok(&self.info(name)?.1.dims)
    }

    fn info(&self, name: &str) -> Result<(&Part, &TensorInfo), Error> {
        let found = self.tensors.get(name);
        let (part, info) = found.ok_or_else(|| Error::MissingTensor(name.to_owned()))?;
        Ok((&self.parts[*part], info))
    }

    fn value(&self, key: &str) -> Result<&Value, Error> {
        let value = self.metadata.get(key);
        value.ok_or_else(|| metadata_error(key, "is missing from the file"))
    }

    fn array(&self, key: &str) -> Result<&Array, Error> {
        match self.value(key)? {
            Value::Array(array) => Ok(array),
            other => Err(wrong_type(key, "an array", other)),
        }
    }

    /// What the ranges of metadata are of.
    fn metadata_bytes(&self) -> &[u8] {
        &self.parts[0].bytes
    }

    fn text<'a>(&self, key: &str, bytes: &'a [u8]) -> Result<&'a str, Error> {
        std::str::from_utf8(bytes)
            .map_err(|error| metadata_error(key, format!("is no UTF-8: {error}")))
    }
}

impl Part {
    /// Maps a file and reads its header.
    fn open(path: &Path) -> Result<(Self, Header), Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        // Asked before it is opened: opening a pipe waits for whoever writes into it.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(std::io::Error::other("it is no regular file")));
        }
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(Error::Header { path: path.to_owned(), reason: "it is empty".to_owned() });
        }
        let bytes = map(&file).map_err(io)?;
        let header = Header::read(path, &bytes)?;
        Ok((Self { path: path.to_owned(), bytes }, header))
    }

    /// The header was held against the file's length, and all tensors lie in it.
    fn tensor_bytes(&self, info: &TensorInfo) -> &[u8] {
        &self.bytes[info.bytes.clone()]
    }

    /// Takes the pages of a tensor that was copied out of this process's resident set; they stay in the page cache.
    /// Without it, loading would hold the whole file beside the copies.
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "dropping pages of the one memory map")]
    fn release(&self, bytes: &[u8]) {
        let offset = bytes.as_ptr().addr() - self.bytes.as_ptr().addr();
        // SAFETY: the map is read-only and backed by the file, so dropped pages are read from it again when they are
        // touched, with the same bytes.
        let released = unsafe {
            self.bytes.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, bytes.len())
        };
        if let Err(error) = released {
            tracing::debug!("pages of {} stay mapped: {error}", self.path.display());
        }
    }

    #[cfg(not(unix))]
    fn release(&self, _bytes: &[u8]) {}
}

/// candle's packed kernels want rows of whole blocks of this many weights.
const PACKED_BLOCK: usize = 256;

/// A block of `Q5_0`: f16 scale, 32 high bits, 16 bytes of low nibbles; 32 values of `scale × (q − 16)`.
const Q5_0_BLOCK: usize = 22;

/// A block of `Q8_0`: f16 scale, 32 × i8; 17 words of two bytes, so that it can stand where blocks are aligned.
type Q8_0Block = [u16; 17];

/// A `Q5_0` block as a `Q8_0` block of exactly the same values.
fn widen_block(block: &[u8]) -> Q8_0Block {
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    let mut values = [0u8; 32];
    for (i, &pair) in block[6..].iter().enumerate() {
        let value = |nibble: u8, i: usize| (nibble | ((high >> i & 1) << 4) as u8).wrapping_sub(16);
        values[i] = value(pair & 0x0F, i);
        values[i + 16] = value(pair >> 4, i + 16);
    }
    let mut wide = [u16::from_ne_bytes([block[0], block[1]]); 17];
    for (word, bytes) in wide[1..].iter_mut().zip(values.chunks_exact(2)) {
        *word = u16::from_ne_bytes([bytes[0], bytes[1]]);
    }
    wide
}

fn read_block(bytes: &[u8]) -> Q8_0Block {
    std::array::from_fn(|i| u16::from_ne_bytes([bytes[2 * i], bytes[2 * i + 1]]))
}

/// The blocks of rows of `width` weights, each row padded with zeros to `padded` weights.
fn pad_rows(
    mut blocks: impl ExactSizeIterator<Item = Q8_0Block>,
    [width, padded]: [usize; 2],
) -> Vec<Q8_0Block> {
    let mut out = Vec::with_capacity(blocks.len() / (width / 32) * padded / 32);
    while blocks.len() > 0 {
        out.extend(blocks.by_ref().take(width / 32));
        out.resize(out.len() + (padded - width) / 32, [0; 17]);
    }
    out
}

#[expect(unsafe_code, reason = "reading words as bytes")]
fn as_bytes(blocks: &[Q8_0Block]) -> &[u8] {
    // SAFETY: the blocks are initialised, without padding, any byte is a valid `u8`, and the borrow keeps them alive.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast::<u8>(), size_of_val(blocks)) }
}

fn as_number(value: &Value) -> Option<f64> {
    match *value {
        Value::Integer(n) => Some(n as f64),
        Value::Float(n) => Some(n),
        _ => None,
    }
}

fn wrong_type(key: &str, expected: &str, got: &Value) -> Error {
    metadata_error(key, format!("expected {expected}, found {}", got.kind_name()))
}

/// An error of a metadata value.
pub(super) fn metadata_error(key: &str, reason: impl Into<String>) -> Error {
    Error::Metadata { key: key.to_owned(), reason: reason.into() }
}

#[expect(unsafe_code, reason = "the one memory map of the program")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this process. The registry installs model files by rename and never
    // writes into one, so the mapped inode keeps its bytes even when a newer file takes its name. A user who truncates
    // the file in place while it is being loaded can still stop the process, as with every mapped file.
    unsafe { Mmap::map(file) }
}

fn block_format(dtype: GgmlDType) -> Option<BlockFormat> {
    match dtype {
        GgmlDType::Q4K => Some(BlockFormat::Q4K),
        GgmlDType::Q5_0 => Some(BlockFormat::Q5_0),
        GgmlDType::Q6K => Some(BlockFormat::Q6K),
        GgmlDType::Q8_0 => Some(BlockFormat::Q8_0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Tensor};

    #[test]
    fn widened_q5_0_dequantizes_to_the_same_numbers() {
        let values: Vec<f32> = (0..256).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
        let tensor = Tensor::from_vec(values, (4, 64), &Device::Cpu).unwrap();
        let narrow = QTensor::quantize(&tensor, GgmlDType::Q5_0).unwrap();
        let blocks = narrow.data().unwrap();
        let wide = pad_rows(blocks.chunks_exact(Q5_0_BLOCK).map(widen_block), [64, 64]);
        let storage =
            QStorage::from_data(Cow::Borrowed(as_bytes(&wide)), &Device::Cpu, GgmlDType::Q8_0)
                .unwrap();
        let wide = QTensor::new(storage, (4, 64)).unwrap();
        let read = |t: &QTensor| {
            let dense = t.dequantize(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
            dense.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(read(&wide), read(&narrow));
    }

    #[test]
    fn padded_rows_end_in_zeros_and_keep_their_blocks() {
        let block = |n: u8| [n; 34];
        let bytes = [block(1), block(2), block(3), block(4)].concat();
        let padded = pad_rows(bytes.chunks_exact(34).map(read_block), [64, 96]);
        let expected = [block(1), block(2), block(0), block(3), block(4), block(0)].concat();
        assert_eq!(as_bytes(&padded), expected);
    }
}
