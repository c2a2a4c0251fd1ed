//! Reads a safetensors file chunk by chunk, so that the memory holds each number once.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Metadata, TensorInfo};
use tch::{Device, Kind, Tensor};

/// The longest header that the format allows, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// The size of a chunk, in bytes. Allocators would not return the memory of a buffer as large as a tensor.
const CHUNK: usize = 1 << 20;

/// Reads all tensors, with their names, to the CPU.
///
/// # Errors
/// If the file cannot be read, or is not safetensors; the error names it.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    read_all(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_all(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length).context("it is too short for safetensors")?;
    let (length, size) = (u64::from_le_bytes(length), file.metadata()?.len());
    ensure!(length <= MAX_HEADER && length <= size.saturating_sub(8), "its header is longer than the file");
    let mut header = vec![0; usize::try_from(length)?];
    file.read_exact(&mut header)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).context("its header is not a safetensors header")?;
    let data = length + 8;
    let infos = metadata.tensors();
    infos
        .into_iter()
        .map(|(name, info)| {
            let tensor = tensor(&mut file, data, size, info).with_context(|| format!("tensor {name:?}"))?;
            Ok((name, tensor))
        })
        .collect()
}

/// Reads one tensor; the file's data begin at `data` and end at `size`.
fn tensor(file: &mut File, data: u64, size: u64, info: &TensorInfo) -> Result<Tensor> {
    let (from, to) = info.data_offsets;
    ensure!(from <= to && to as u64 <= size - data, "its data is not in the file");
    let width = info.shape.iter().try_fold(info.dtype.size(), |bytes, width| bytes.checked_mul(*width));
    ensure!(width == Some(to - from), "its data does not have the length of its shape");
    let shape: Vec<_> = info.shape.iter().map(|&width| width as i64).collect();
    let kind = Kind::try_from(info.dtype)?;
    if from == to {
        return Ok(Tensor::f_empty(shape, (kind, Device::Cpu))?);
    }
    file.seek(SeekFrom::Start(data + from as u64))?;
    let bytes = Tensor::f_empty([(to - from) as i64], (Kind::Uint8, Device::Cpu))?;
    let mut buffer = vec![0; CHUNK.min(to - from)];
    for start in (0..to - from).step_by(CHUNK) {
        let chunk =
            buffer.get_mut(..CHUNK.min(to - from - start)).context("a chunk is no longer than the buffer")?;
        file.read_exact(chunk)?;
        bytes.f_narrow(0, start as i64, chunk.len() as i64)?.f_copy_(&Tensor::f_from_slice(chunk)?)?;
    }
    Ok(bytes.f_view_dtype(kind)?.f_view(&*shape)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_those_that_tch_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensors = [
            ("small", Tensor::from_slice(&[1i64, -2])),
            ("half", Tensor::from_slice2(&[[0.5f32, 1.5], [2.5, -3.0]]).to_kind(Kind::Half)),
            ("long", Tensor::arange(CHUNK as i64, (Kind::Float, Device::Cpu)).reshape([2, -1])),
            ("none", Tensor::zeros([0, 3], (Kind::Float, Device::Cpu))),
        ];
        Tensor::write_safetensors(&tensors, &path).unwrap();
        let mut found = read(&path).unwrap();
        let mut wanted = Tensor::read_safetensors(&path).unwrap();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found.len(), 4);
        for ((name, found), (wanted_name, wanted)) in found.iter().zip(&wanted) {
            assert_eq!((name, found.kind(), found.size()), (wanted_name, wanted.kind(), wanted.size()));
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn files_that_are_not_safetensors_are_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let header = |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
        let tensor = |from: u64, to: u64| {
            header(&format!(r#"{{"a": {{"dtype": "F32", "shape": [2], "data_offsets": [{from}, {to}]}}}}"#))
        };
        for (bytes, reason) in [
            (b"abc".to_vec(), "too short"),
            (u64::MAX.to_le_bytes().to_vec(), "longer than the file"),
            (header("[]"), "not a safetensors header"),
            // Its data are missing, end before they begin, or are fewer than its shape says.
            (tensor(0, 8), "not in the file"),
            ([tensor(8, 0), vec![0; 8]].concat(), "not in the file"),
            ([tensor(0, 4), vec![0; 8]].concat(), "length of its shape"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains("a.safetensors") && error.contains(reason), "{error}");
        }
    }
}
