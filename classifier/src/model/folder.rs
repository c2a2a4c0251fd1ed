//! A model's folder. The folder of an adapter takes the files that it lacks from the folder of its base.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::adapter;

/// Where a model's files are.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    own: PathBuf,
    base: Option<PathBuf>,
}

impl ModelFolder {
    /// Looks for the base, if the folder has an adapter and no weights of its own.
    ///
    /// # Errors
    /// If the adapter's config cannot be read or its base has no weights; the error names the file.
    pub fn open(folder: &Path) -> Result<Self> {
        let has_weights =
            |folder: &Path| ["model.safetensors", "model.pt"].iter().any(|name| folder.join(name).is_file());
        let base = match adapter::base(folder)? {
            Some(base) if !has_weights(folder) => {
                let path = folder.join(&base);
                ensure!(
                    has_weights(&path),
                    "{}: the adapter changes model.safetensors, which is missing, and base_model_name_or_path {base:?} \
                     in {} is not a folder with that file, relative to the adapter's folder. `scripts/setup` \
                     creates the bases of the repository's models",
                    folder.display(),
                    folder.join(adapter::CONFIG).display(),
                );
                Some(path)
            }
            _ => None,
        };
        Ok(Self { own: folder.to_owned(), base })
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.own
    }

    /// The folder that has the encoder's weights.
    #[must_use]
    pub fn weights(&self) -> &Path {
        self.base.as_deref().unwrap_or(&self.own)
    }

    /// The path of a file: in the folder if it is there, else in its base.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        let own = self.own.join(name);
        match &self.base {
            Some(base) if !own.is_file() => base.join(name),
            _ => own,
        }
    }
}
