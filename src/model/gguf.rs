//! A GGUF file: metadata, and tensors by name, read straight from the mapped file.
//!
//! The one memory map of the program. Every offset is checked against the file's length before it is used, so a
//! truncated or corrupted file ends in an [`Error`] that names the tensor.

use std::borrow::Cow;
use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use super::Error;
use crate::kernel::quant::{BlockFormat, PackedMatrix};

/// The embedding table, in llama.cpp's names of tensors.
const EMBEDDINGS: &str = "token_embd.weight";

/// An open GGUF file.
pub struct Gguf {
    path: PathBuf,
    content: Content,
    bytes: Mmap,
}

impl std::fmt::Debug for Gguf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gguf").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Gguf {
    /// Maps `path` and reads its header.
    ///
    /// # Errors
    /// If the file cannot be read, or its header is not whole.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            return Err(Error::Header { path: path.to_owned(), reason: "it is empty".to_owned() });
        }
        let bytes = map(&file).map_err(io)?;
        let content = Content::read(&mut Cursor::new(&bytes[..])).map_err(|e| Error::Header {
            path: path.to_owned(),
            reason: super::without_backtrace(&e),
        })?;
        Ok(Self { path: path.to_owned(), content, bytes })
    }

    /// A metadata string.
    ///
    /// # Errors
    /// If it is missing or no string.
    pub fn string(&self, key: &str) -> Result<&str, Error> {
        match self.value(key)? {
            Value::String(text) => Ok(text),
            other => Err(wrong_type(key, "a string", other)),
        }
    }

    /// A metadata number of any numeric type.
    ///
    /// # Errors
    /// If it is missing or no number.
    pub fn number(&self, key: &str) -> Result<f64, Error> {
        let value = self.value(key)?;
        as_number(value).ok_or_else(|| wrong_type(key, "a number", value))
    }

    /// A metadata flag.
    ///
    /// # Errors
    /// If it is missing or no flag.
    pub fn flag(&self, key: &str) -> Result<bool, Error> {
        match self.value(key)? {
            Value::Bool(flag) => Ok(*flag),
            other => Err(wrong_type(key, "a boolean", other)),
        }
    }

    /// A metadata array of strings.
    ///
    /// # Errors
    /// If it is missing, or an element is no string.
    pub fn strings(&self, key: &str) -> Result<Vec<&str>, Error> {
        let mut strings = Vec::new();
        for value in self.array(key)? {
            match value {
                Value::String(text) => strings.push(text.as_str()),
                other => return Err(wrong_type(key, "an array of strings", other)),
            }
        }
        Ok(strings)
    }

    /// A metadata array of numbers.
    ///
    /// # Errors
    /// If it is missing, or an element is no number.
    pub fn numbers(&self, key: &str) -> Result<Vec<f64>, Error> {
        let element =
            |value| as_number(value).ok_or_else(|| wrong_type(key, "an array of numbers", value));
        self.array(key)?.iter().map(element).collect()
    }

    /// Whether the file holds a tensor of this name.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// One tensor as it is stored, copied from the mapped file to `device`.
    ///
    /// # Errors
    /// If it is missing, or its bytes are not all in the file.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<QTensor, Error> {
        let info = self.info(name)?;
        let bytes = self.tensor_bytes(name, info)?;
        let storage = QStorage::from_data(Cow::Borrowed(bytes), device, info.ggml_dtype)?;
        self.release(bytes);
        Ok(QTensor::new(storage, info.shape.clone())?)
    }

    /// A matrix `[out, in]` for products, in the form that candle's CPU kernels compute with fastest, and exactly the
    /// same numbers: `Q5_0`, for which they have no SIMD, becomes `Q8_0` (each block keeps its scale, and 5 bits fit 8);
    /// and where they pack `Q8_0` only in rows of whole 256-blocks, shorter rows get zeros at their ends (the 0.5B
    /// model's are 896 wide). The padded width is the returned tensor's; [`Gguf::dims`] says the true one.
    ///
    /// # Errors
    /// As [`Gguf::tensor`].
    pub fn matrix(&self, name: &str, device: &Device) -> Result<QTensor, Error> {
        let info = self.info(name)?;
        let (dtype, dims) = (info.ggml_dtype, info.shape.dims());
        let &[rows, width] = dims else { return self.tensor(name, device) };
        let padded = match super::device::packs_whole_blocks(device) {
            true => width.next_multiple_of(PACKED_BLOCK),
            false => width,
        };
        let bytes = self.tensor_bytes(name, info)?;
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
        self.release(bytes);
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
        let info = self.info(name)?;
        let bytes = self.tensor_bytes(name, info)?;
        let result = read(info.ggml_dtype, bytes);
        self.release(bytes);
        result
    }

    /// The embedding table `[V, E]`, as it is stored, and V.
    ///
    /// # Errors
    /// As [`Gguf::tensor`], and if its rows are not `model_dim` wide.
    pub fn embeddings(&self, model_dim: usize, device: &Device) -> Result<(QTensor, usize), Error> {
        let table = self.tensor(EMBEDDINGS, device)?;
        match *table.shape().dims() {
            [vocab, width] if width == model_dim => Ok((table, vocab)),
            ref dims => Err(Error::Shape {
                tensor: EMBEDDINGS.to_owned(),
                expected: vec![0, model_dim],
                got: dims.to_vec(),
            }),
        }
    }

    /// The name of the product with the vocabulary: small models tie it to the embedding table and leave it out of the
    /// file.
    pub fn head_name(&self) -> &'static str {
        if self.has_tensor("output.weight") { "output.weight" } else { EMBEDDINGS }
    }

    /// A vector `[len]` as `f32`.
    ///
    /// # Errors
    /// As [`Gguf::tensor`], and if it is of another shape.
    pub fn vector(&self, name: &str, len: usize, device: &Device) -> Result<Tensor, Error> {
        self.expect_shape(name, &[len])?;
        Ok(self.tensor(name, device)?.dequantize(device)?)
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
        self.info(name).is_ok_and(|info| block_format(info.ggml_dtype).is_some())
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
        Ok(self.info(name)?.shape.dims())
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, Error> {
        let infos = &self.content.tensor_infos;
        infos.get(name).ok_or_else(|| Error::MissingTensor(name.to_owned()))
    }

    fn tensor_bytes(&self, name: &str, info: &TensorInfo) -> Result<&[u8], Error> {
        let elements = info.shape.elem_count();
        let blocks = elements.div_ceil(info.ggml_dtype.block_size());
        let len = (blocks * info.ggml_dtype.type_size()) as u64;
        let start = self.content.tensor_data_offset.saturating_add(info.offset);
        let end = start.saturating_add(len);
        if end > self.bytes.len() as u64 {
            return Err(Error::Truncated {
                path: self.path.clone(),
                tensor: name.to_owned(),
                needed: end,
                len: self.bytes.len() as u64,
            });
        }
        if !start.is_multiple_of(TENSOR_ALIGNMENT) {
            let reason = format!("tensor `{name}` starts at byte {start}, which is not aligned");
            return Err(Error::Header { path: self.path.clone(), reason });
        }
        Ok(&self.bytes[start as usize..end as usize])
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

    fn value(&self, key: &str) -> Result<&Value, Error> {
        self.content.metadata.get(key).ok_or_else(|| Error::Metadata {
            key: key.to_owned(),
            reason: "is missing from the file".to_owned(),
        })
    }

    fn array(&self, key: &str) -> Result<&[Value], Error> {
        match self.value(key)? {
            Value::Array(values) => Ok(values),
            other => Err(wrong_type(key, "an array", other)),
        }
    }
}

/// candle reads blocks in place; the strictest of them (`f32` norms) needs four bytes.
const TENSOR_ALIGNMENT: u64 = 4;

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
    Some(match *value {
        Value::U8(n) => n.into(),
        Value::I8(n) => n.into(),
        Value::U16(n) => n.into(),
        Value::I16(n) => n.into(),
        Value::U32(n) => n.into(),
        Value::I32(n) => n.into(),
        Value::U64(n) => n as f64,
        Value::I64(n) => n as f64,
        Value::F32(n) => n.into(),
        Value::F64(n) => n,
        _ => return None,
    })
}

fn wrong_type(key: &str, expected: &str, got: &Value) -> Error {
    Error::Metadata {
        key: key.to_owned(),
        reason: format!("expected {expected}, found {:?}", got.value_type()),
    }
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
