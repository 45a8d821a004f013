//! What was acknowledged outlives a loss of power and a disk that fails, on the machine and at the backup's destination.
//!
//! The real binary runs with its disk observed (`system_tests::power`) while callers write and note what they are told.
//! `SIXFOLD_POWER_LOSSES` says how often the power is lost in each test, `SIXFOLD_DISK_FAULTS_ROUNDS` how many faults
//! befall a disk at random; with `SIXFOLD_POWER_TABLE` a line for each loss is appended to that file.

mod faults;
mod full;
mod machine;
mod power;
