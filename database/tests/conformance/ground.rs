//! What a database of a test stands on.

use database::Url;
use system_tests::postgres::Scratch;
use tempfile::TempDir;

/// What a database stands on; dropped after the database.
pub(crate) enum Ground {
    Folder(TempDir),
    Server(Scratch),
}

impl Ground {
    pub(crate) fn url(&self) -> Url {
        match self {
            Self::Folder(folder) => Url::SqliteIn(folder.path().to_owned()),
            Self::Server(scratch) => scratch.url().parse().unwrap(),
        }
    }
}

/// A fresh folder for SQLite.
pub(crate) fn sqlite() -> Ground {
    Ground::Folder(tempfile::tempdir().unwrap())
}

/// A fresh database on a real PostgreSQL server.
pub(crate) fn postgres() -> Ground {
    Ground::Server(Scratch::create())
}
