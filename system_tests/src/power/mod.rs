//! Power loss without pulling a plug: what a process does to its disk is recorded, and the disk of any moment rebuilt.
//!
//! [`Recorder`] has a library loaded into a process (`disk.c`, compiled by the test) that writes down every change of
//! the files below one folder, and when each fsync began and ended. [`Disk`] reads such a recording up to a position
//! and gives what a machine that lost power there could find: all that was flushed; of the rest, by chance, each write
//! whole, in part or not at all, and of files and names that were made, renamed or removed, some and others not.
//!
//! What an fsync that *failed* was to flush may be lost for good, although the process goes on to read it from memory:
//! Linux marks such pages clean. A later fsync makes it no safer; only a write of the same bytes does.

mod disk;
mod record;
mod recorder;

pub use disk::Disk;
pub use record::Recording;
pub use recorder::Recorder;
