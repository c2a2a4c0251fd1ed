//! Writes trained heads and encoders into a model's folder.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tch::Tensor;

use super::card;
use super::report::{self, TrainingReport};
use super::trained::TrainedEncoder;
use llm_router_classifier::model::adapter;
use llm_router_classifier::model::folder::ModelFolder;
use llm_router_classifier::model::head_files;
use llm_router_classifier::model::heads::Head;
use llm_router_classifier::model::load::PROMPT_FILE;
use llm_router_classifier::model::weights::without_prefix;

/// The files with a model's weights: one or the other.
const SAFETENSORS: &str = "model.safetensors";
const TORCH_SCRIPT: &str = "model.pt";

/// The files of a model's folder, besides its weights.
const FILES: [&str; 4] = ["config.json", "tokenizer.json", "sentence_bert_config.json", PROMPT_FILE];

/// Rejects an output folder with heads that depend on its present encoder, which the training would replace.
///
/// # Errors
/// Names the heads.
pub(super) fn check_heads(out: &Path, trained: &[&str]) -> Result<()> {
    let others: Vec<_> =
        head_files::names(out)?.into_iter().filter(|name| !trained.contains(&name.as_str())).collect();
    ensure!(
        others.is_empty(),
        "{} has heads that this training does not include ({1}), and it would change their encoder: choose another \
         --out, or move these heads away",
        out.display(),
        others.join(", ")
    );
    Ok(())
}

/// Writes the encoder that was trained from `model`'s into `out`.
///
/// # Errors
/// If a file cannot be read or written. The error names it.
pub(super) fn encoder(model: &Path, out: &Path, encoder: &TrainedEncoder) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let model = ModelFolder::open(model)?;
    match encoder {
        TrainedEncoder::Adapter(adapter) => adapter.save(out, &relative(model.weights(), out)?),
        TrainedEncoder::Weights(changed) => {
            remove_adapter(out)?;
            copy_files(&model, out)?;
            weights(model.weights(), out, changed)
        }
    }
}

/// Makes `out` a model's folder with the same encoder as `model`, to add heads to.
///
/// # Errors
/// If `out` has heads of another encoder, or a file cannot be read or written. The error names them.
pub(super) fn same_encoder(model: &Path, out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    if model.canonicalize()? == out.canonicalize()? {
        return Ok(());
    }
    let folder = ModelFolder::open(model)?;
    check_encoder(model, &folder, out)?;
    let weights = |name: &str| folder.weights().join(name);
    copy_files(&folder, out)?;
    if adapter::Adapter::load(model)?.is_some() {
        return adapter::copy(model, out, &relative(folder.weights(), out)?);
    }
    remove_adapter(out)?;
    let name = if weights(SAFETENSORS).is_file() { SAFETENSORS } else { TORCH_SCRIPT };
    copy(&weights(name), &out.join(name))
}

/// Rejects an output folder with heads of another encoder than the model's.
fn check_encoder(model: &Path, folder: &ModelFolder, out: &Path) -> Result<()> {
    let heads = head_files::names(out)?;
    let Ok(present) = ModelFolder::open(out) else { return Ok(()) };
    let has_encoder = [SAFETENSORS, TORCH_SCRIPT].iter().any(|name| present.weights().join(name).is_file());
    if heads.is_empty() || !has_encoder {
        return Ok(());
    }
    let is_same = adapter::fingerprint(model)? == adapter::fingerprint(out)?
        && same_content(&folder.file("config.json"), &present.file("config.json"))?
        && same_content(&folder.weights().join(SAFETENSORS), &present.weights().join(SAFETENSORS))?
        && same_content(&folder.weights().join(TORCH_SCRIPT), &present.weights().join(TORCH_SCRIPT))?;
    ensure!(
        is_same,
        "{} has another encoder than {}, and heads that depend on it ({}): choose another --out, or move these heads away",
        out.display(),
        model.display(),
        heads.join(", ")
    );
    Ok(())
}

/// Whether two files have the same content, or neither exists.
fn same_content(one: &Path, other: &Path) -> Result<bool> {
    let (Ok(first), Ok(second)) = (one.canonicalize(), other.canonicalize()) else {
        return Ok(one.exists() == other.exists());
    };
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(first == second
        || (first.metadata()?.len() == second.metadata()?.len() && read(&first)? == read(&second)?))
}

/// Writes a head, its model card and its metrics, and returns the head's folder. `section` becomes part of the card.
///
/// # Errors
/// If a file cannot be written. The error names it.
pub(super) fn head(
    out: &Path,
    head: &Head,
    report: &TrainingReport,
    command: &str,
    section: &str,
) -> Result<PathBuf> {
    let folder = head_files::save(head, out, adapter::fingerprint(out)?.as_deref())?;
    let write = |name: &str, content: String| {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    write(report::FILE, serde_json::to_string_pretty(report)? + "\n")?;
    let about = std::fs::read_to_string(folder.join(card::ABOUT)).unwrap_or_default();
    write(card::FILE, card::render(report, &about, command, section))?;
    Ok(folder)
}

/// Writes the checkpoint with the tensors that have changed.
fn weights(base: &Path, out: &Path, changed: &BTreeMap<String, Tensor>) -> Result<()> {
    let path = base.join("model.safetensors");
    let tensors =
        Tensor::read_safetensors(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let tensors: Vec<_> = tensors
        .into_iter()
        .map(|(name, tensor)| {
            let new = changed.get(without_prefix(&name)).map(Tensor::shallow_clone);
            (name, new.unwrap_or(tensor))
        })
        .collect();
    let path = out.join("model.safetensors");
    Tensor::write_safetensors(&tensors, &path).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes an adapter, which would change fully trained weights once more.
fn remove_adapter(out: &Path) -> Result<()> {
    for name in adapter::FILES {
        let path = out.join(name);
        if path.is_file() {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn copy_files(model: &ModelFolder, out: &Path) -> Result<()> {
    for name in FILES {
        let from = model.file(name);
        if from.is_file() {
            copy(&from, &out.join(name))?;
        }
    }
    Ok(())
}

/// Copies a file, unless both paths lead to the same file.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() && from.canonicalize()? == to.canonicalize()? {
        return Ok(());
    }
    std::fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// The relative path from one folder to another. Both must exist.
fn relative(to: &Path, from: &Path) -> Result<String> {
    let absolute =
        |path: &Path| path.canonicalize().with_context(|| format!("cannot find {}", path.display()));
    let (to, from) = (absolute(to)?, absolute(from)?);
    let shared = to.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(to.components().skip(shared)).collect();
    let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(if path.is_empty() { ".".to_owned() } else { path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_from_one_folder_to_another() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let (base, out) = (folder("models/minilm"), folder("mine"));
        assert_eq!(relative(&base, &out).unwrap(), "../models/minilm");
        assert_eq!(relative(&base, &base).unwrap(), ".");
    }
}
