//! The disk as a recording leaves it: what is durable, what is not yet, and what a loss of power makes of both.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rand::Rng;
use rand::rngs::StdRng;

use super::Recording;
use super::record::Record;

/// In what pieces a write that was under way may have arrived: a sector of old disks, one of new ones.
const SECTORS: [usize; 2] = [512, 4096];

/// How likely each piece that was not flushed arrived: none, some, most, all but what was torn, all.
const LIKELIHOODS: [f64; 5] = [0.0, 0.3, 0.9, 0.99, 1.0];

/// The disk below one folder, as far as a recording was followed.
#[derive(Debug)]
pub struct Disk {
    root: String,
    rng: StdRng,
    /// How many records were followed.
    followed: usize,
    files: Vec<File>,
    /// Which file an inode is now; inodes are given again.
    inodes: HashMap<u64, Node>,
    /// What the running system sees.
    seen: BTreeMap<String, Node>,
    /// What names the disk surely has.
    names: BTreeMap<String, Node>,
    /// What changed of them since, in order.
    unsynced: Vec<(usize, Rename)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(usize),
    Folder(String),
}

#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    unsynced: Vec<(usize, Change)>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize { length: usize },
}

/// A change of names: at once, so that a rename happens or does not.
#[derive(Debug, Clone)]
struct Rename {
    gone: Option<String>,
    made: Option<(String, Node)>,
}

/// By chance: what became of the pieces that were not flushed.
#[derive(Debug, Clone, Copy)]
struct Luck {
    likelihood: f64,
    sector: usize,
    /// Whether names change in their order, as on a journaling file system, or any of them.
    in_order: bool,
}

impl Disk {
    /// Makes the empty disk below a folder.
    pub fn new(root: &Path, rng: StdRng) -> Self {
        let root = root.display().to_string();
        let is_there = BTreeMap::from([(root.clone(), Node::Folder(root.clone()))]);
        Self {
            root,
            rng,
            followed: 0,
            files: Vec::new(),
            inodes: HashMap::new(),
            seen: is_there.clone(),
            names: is_there,
            unsynced: Vec::new(),
        }
    }

    /// Follows a recording until so many of its records have happened.
    pub fn follow(&mut self, recording: &Recording, until: usize) {
        while self.followed < until {
            let (at, record) = recording.get(self.followed);
            self.apply(at, record);
            self.followed += 1;
        }
    }

    fn apply(&mut self, at: usize, record: Record<'_>) {
        match record {
            Record::Open { inode, path, is_emptied, is_folder } => {
                let node = match self.seen.get(path) {
                    Some(node) => node.clone(),
                    None => self.make(at, path, is_folder),
                };
                if let (Node::File(file), true) = (&node, is_emptied) {
                    self.files[*file].unsynced.push((at, Change::Resize { length: 0 }));
                }
                self.inodes.insert(inode, node);
            }
            Record::Write { inode, offset, data } => {
                let change = Change::Write { offset, data: data.to_vec() };
                self.file(inode).unsynced.push((at, change));
            }
            Record::Resize { inode, length } => {
                self.file(inode).unsynced.push((at, Change::Resize { length }));
            }
            Record::Synced { inode, from } => match self.inodes[&inode].clone() {
                Node::File(file) => self.files[file].sync(from),
                Node::Folder(folder) => self.sync_names(&folder, from),
            },
            Record::SyncFailed { inode, from } => {
                // Each piece reached the disk or never will.
                let luck = self.luck();
                if let Node::File(file) = self.inodes[&inode] {
                    self.files[file].lose(from, luck, &mut self.rng);
                }
            }
            Record::Renamed { from, to } => {
                let node = self.seen.remove(from).expect("what is renamed is there");
                self.seen.insert(to.to_owned(), node.clone());
                self.rename(at, Some(from), Some((to.to_owned(), node)));
            }
            Record::Removed { path } => {
                self.seen.remove(path);
                self.rename(at, Some(path), None);
            }
            Record::Made { path } => drop(self.make(at, path, true)),
            Record::SyncBegins => {}
        }
    }

    fn make(&mut self, at: usize, path: &str, is_folder: bool) -> Node {
        let node = match is_folder {
            true => Node::Folder(path.to_owned()),
            false => {
                self.files.push(File::default());
                Node::File(self.files.len() - 1)
            }
        };
        self.seen.insert(path.to_owned(), node.clone());
        self.rename(at, None, Some((path.to_owned(), node.clone())));
        node
    }

    fn rename(&mut self, at: usize, gone: Option<&str>, made: Option<(String, Node)>) {
        self.unsynced.push((at, Rename { gone: gone.map(ToOwned::to_owned), made }));
    }

    fn file(&mut self, inode: u64) -> &mut File {
        match self.inodes.get(&inode) {
            Some(Node::File(file)) => &mut self.files[*file],
            other => panic!("a write to {other:?}"),
        }
    }

    fn sync_names(&mut self, folder: &str, from: usize) {
        let (done, left) =
            self.unsynced.drain(..).partition(|(at, rename)| *at < from && rename.is_in(folder));
        self.unsynced = left;
        let done: Vec<(usize, Rename)> = done;
        done.into_iter().for_each(|(_, rename)| rename.apply(&mut self.names));
    }

    fn luck(&mut self) -> Luck {
        Luck {
            likelihood: LIKELIHOODS[self.rng.random_range(0..LIKELIHOODS.len())],
            sector: SECTORS[self.rng.random_range(0..SECTORS.len())],
            in_order: self.rng.random(),
        }
    }

    /// Takes the power away here, and writes what the disk then holds into the folder `target`, which is a copy's
    /// root. The recording can be followed further.
    pub fn lose_power(&mut self, target: &Path) {
        let luck = self.luck();
        let mut names = self.names.clone();
        for (_, rename) in &self.unsynced {
            match self.rng.random_bool(luck.likelihood) {
                true => rename.clone().apply(&mut names),
                // The journal ends here.
                false if luck.in_order => break,
                false => {}
            }
        }
        // In the order of paths a folder comes before what is in it; what has no folder cannot be found.
        for (path, node) in &names {
            let beside = target.join(path.strip_prefix(&self.root).unwrap_or(path).trim_start_matches('/'));
            if !beside.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match node {
                Node::Folder(_) => std::fs::create_dir_all(&beside).expect("a folder of the copy"),
                Node::File(file) => {
                    let content = self.files[*file].after_power_loss(luck, &mut self.rng);
                    std::fs::write(&beside, content).expect("a file of the copy");
                }
            }
        }
    }
}

impl Rename {
    fn is_in(&self, folder: &str) -> bool {
        let is_in = |path: &str| path.rsplit_once('/').is_some_and(|(parent, _)| parent == folder);
        self.gone.as_deref().is_some_and(is_in) || self.made.as_ref().is_some_and(|(path, _)| is_in(path))
    }

    fn apply(self, names: &mut BTreeMap<String, Node>) {
        if let Some(gone) = &self.gone {
            names.remove(gone);
        }
        names.extend(self.made);
    }
}

impl File {
    /// Makes durable what was changed before a position.
    fn sync(&mut self, from: usize) {
        let count = self.unsynced.partition_point(|(at, _)| *at < from);
        for (_, change) in self.unsynced.drain(..count) {
            change.apply(&mut self.durable);
        }
    }

    /// Loses, but for luck, what was changed before a position.
    fn lose(&mut self, from: usize, luck: Luck, rng: &mut StdRng) {
        let count = self.unsynced.partition_point(|(at, _)| *at < from);
        for (_, change) in self.unsynced.drain(..count) {
            change.apply_partly(&mut self.durable, luck, rng);
        }
    }

    fn after_power_loss(&self, luck: Luck, rng: &mut StdRng) -> Vec<u8> {
        let mut content = self.durable.clone();
        for (_, change) in &self.unsynced {
            change.apply_partly(&mut content, luck, rng);
        }
        content
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => put(content, *offset, data),
            Self::Resize { length } => content.resize(*length, 0),
        }
    }

    /// Applies each sector of a write, or a resize, by chance. A sector that is missing before one that arrived reads
    /// as zeros where the file is new.
    fn apply_partly(&self, content: &mut Vec<u8>, luck: Luck, rng: &mut StdRng) {
        match self {
            Self::Resize { length } => {
                if rng.random_bool(luck.likelihood) {
                    content.resize(*length, 0);
                }
            }
            Self::Write { offset, data } => {
                let (mut at, end) = (*offset, offset + data.len());
                while at < end {
                    let next = (at / luck.sector + 1).saturating_mul(luck.sector).min(end);
                    if rng.random_bool(luck.likelihood) {
                        put(content, at, &data[at - offset..next - offset]);
                    }
                    at = next;
                }
            }
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
