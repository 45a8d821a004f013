//! Where the sockets of handovers lie: a folder nobody else may write in.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Permissions by which others could put a socket of theirs in our place.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Where one role hands over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    role: String,
    path: PathBuf,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderFault {
    /// It cannot be made or looked at.
    #[error("process.handover: {}: {source}", folder.display())]
    Unreachable {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others could put something there.
    #[error("process.handover: {}: {reason}", folder.display())]
    Open {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Place {
    /// Finds the place of a role in a folder, which is made when it is not there.
    pub fn find(folder: &Path, role: &str) -> Result<Self, FolderFault> {
        let unreachable = |source| FolderFault::Unreachable { folder: folder.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unreachable)?;
        let found = std::fs::metadata(folder).map_err(unreachable)?;
        let fault = |reason| Err(FolderFault::Open { folder: folder.to_owned(), reason });
        if found.uid() != rustix::process::geteuid().as_raw() {
            return fault("it belongs to another user");
        }
        if found.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
            return fault("others may write in it; chmod go-w");
        }
        let name: String =
            role.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        Ok(Self { role: role.to_owned(), path: folder.join(format!("{name}.sock")) })
    }

    /// Gives the role.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Gives the path of its socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_others_may_write_in_is_refused_and_a_new_one_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        let error = Place::find(&open, "load balancer").unwrap_err().to_string();
        assert!(error.contains("others may write"), "{error}");

        let private = folder.path().join("a/b");
        let place = Place::find(&private, "gateway 127.0.0.1:5006").unwrap();
        assert_eq!(place.path(), private.join("gateway-127.0.0.1-5006.sock"));
        assert_eq!(std::fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
