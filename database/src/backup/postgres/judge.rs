//! Whether a server can be backed up by us, and whether its answers wait for us: decided from what it says of itself.

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// Such as 150018.
    pub(super) version: i64,
    /// What it calls its cluster.
    pub(super) system: String,
    pub(super) segment_bytes: i64,
    pub(super) wal_level: String,
    pub(super) wal_senders: i64,
    pub(super) slots: i64,
    pub(super) archive_mode: String,
    pub(super) archive_command: String,
    /// `None` where it may not be seen, or does not exist yet.
    pub(super) archive_library: Option<String>,
    /// Physical slots that are not ours.
    pub(super) other_slots: Vec<String>,
    pub(super) standby_names: String,
    pub(super) synchronous_commit: String,
    pub(super) user: String,
    pub(super) may_replicate: bool,
    /// Tablespaces besides the two that every cluster has.
    pub(super) tablespaces: i64,
}

/// What follows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is backed up.
    Receive,
    /// Somebody does already.
    KeepOff(String),
    /// Something is to be done first.
    Refuse(String),
}

/// What slots of other tools have in their names.
const ARCHIVERS: [&str; 7] = ["barman", "pgbackrest", "wal_g", "walg", "pghoard", "probackup", "pgmoneta"];

impl Facts {
    /// Gives the server's major version.
    pub(super) fn major(&self) -> u32 {
        u32::try_from(self.version / 10_000).unwrap_or(0)
    }

    /// Decides whether it can be backed up, and should.
    pub(super) fn judge(&self) -> Verdict {
        if let Some(archiver) = self.archiver() {
            return Verdict::KeepOff(format!(
                "{archiver}: it is backed up already, and Sixfold keeps off; unset database.backup.destination, or turn \
                 that off to have Sixfold do it"
            ));
        }
        let refuse = |reason: String| Verdict::Refuse(reason);
        if !self.may_replicate {
            let user = self.user.replace('"', "\"\"");
            return refuse(format!(
                "the user may not receive the log; as a superuser run: ALTER ROLE \"{user}\" REPLICATION"
            ));
        }
        if self.wal_level == "minimal" {
            return refuse("the server writes too little log: set wal_level = replica and restart it".into());
        }
        if self.wal_senders < 2 || self.slots < 1 {
            return refuse(
                "the server sends its log to too few: set max_wal_senders to 2 more than others need and \
                 max_replication_slots to 1 more, and restart it"
                    .into(),
            );
        }
        if self.tablespaces > 0 {
            return refuse(
                "the server has tablespaces outside of its data folder, which this backup does not cover"
                    .into(),
            );
        }
        Verdict::Receive
    }

    /// Names what archives the log already.
    fn archiver(&self) -> Option<String> {
        if self.archive_mode != "off" {
            let command = self.archive_command.trim();
            if !command.is_empty() && command != "(disabled)" {
                // Not the command itself: it may hold a password.
                return Some(
                    "the server archives its log (archive_mode is on, archive_command is set)".into(),
                );
            }
            match self.archive_library.as_deref() {
                Some("") => {}
                None if self.version < 150_000 => {}
                _ => {
                    return Some(
                        "the server archives its log (archive_mode is on, by archive_library)".into(),
                    );
                }
            }
        }
        let is_archiver = |slot: &&String| {
            let slot = slot.to_lowercase();
            ARCHIVERS.iter().any(|archiver| slot.contains(archiver))
        };
        self.other_slots.iter().find(is_archiver).map(|slot| format!("the slot `{slot}` is of a backup tool"))
    }

    /// Says why a commit's answer does not wait for the standby of this name; `None` when it does.
    pub(super) fn fault_of_waiting(&self, us: &str) -> Option<String> {
        if self.synchronous_commit == "remote_apply" {
            return Some(
                "synchronous_commit = remote_apply waits for a standby that applies the log, which a backup never \
                 does; set it to on"
                    .into(),
            );
        }
        if waits_for(&self.standby_names, us) {
            return None;
        }
        let now = match self.standby_names.trim() {
            "" => "it is empty".to_owned(),
            names => format!("it is '{names}'"),
        };
        Some(format!(
            "mode is \"sync\", and the server's commits do not all wait for this backup: as a superuser run ALTER SYSTEM \
             SET synchronous_standby_names = '{us}'; SELECT pg_reload_conf(); with standbys of your own, name all of \
             them and their number: 'FIRST 2 ({us}, other)' ({now})"
        ))
    }
}

/// Tells whether every commit waits for the standby `us`, whoever else is connected: only if as many must confirm as are
/// named (PostgreSQL, `synchronous_standby_names`).
fn waits_for(setting: &str, us: &str) -> bool {
    let setting = setting.trim();
    let (count, list) = match setting.split_once('(') {
        None => (1, setting),
        Some((head, list)) => {
            let Some(list) = list.trim_end().strip_suffix(')') else { return false };
            let number = head.split_whitespace().next_back().and_then(|number| number.parse().ok());
            let Some(number) = number else { return false };
            (number, list)
        }
    };
    // A name in quotes may hold a comma; then this sees one name too many, and says no.
    let mut names: Vec<String> = list
        .split(',')
        .map(|name| {
            let name = name.trim();
            name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name).to_lowercase()
        })
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    let is_named = names.contains(&us.to_lowercase()) && !names.iter().any(|name| name == "*");
    is_named && count >= names.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            version: 150_018,
            system: "7".into(),
            segment_bytes: 16 << 20,
            wal_level: "replica".into(),
            wal_senders: 10,
            slots: 10,
            archive_mode: "off".into(),
            archive_command: "(disabled)".into(),
            archive_library: Some(String::new()),
            other_slots: vec!["standby_1".into()],
            standby_names: String::new(),
            synchronous_commit: "on".into(),
            user: "ann".into(),
            may_replicate: true,
            tablespaces: 0,
        }
    }

    #[test]
    fn a_server_that_archives_already_is_left_alone() {
        assert_eq!(facts().judge(), Verdict::Receive);
        let on = |change: fn(&mut Facts)| {
            let mut facts = Facts { archive_mode: "on".into(), archive_command: String::new(), ..facts() };
            change(&mut facts);
            facts.judge()
        };
        assert_eq!(on(|_| ()), Verdict::Receive, "nothing archives");
        for verdict in [
            on(|facts| facts.archive_command = "cp %p s3://secret".into()),
            on(|facts| facts.archive_library = Some("basic_archive".into())),
            on(|facts| facts.archive_library = None),
            Facts { other_slots: vec!["Barman_main".into()], ..facts() }.judge(),
        ] {
            assert!(matches!(&verdict, Verdict::KeepOff(why) if !why.contains("secret")), "{verdict:?}");
        }
        assert_eq!(on(|facts| (facts.version, facts.archive_library) = (140_000, None)), Verdict::Receive);
    }

    #[test]
    fn what_is_to_be_done_first_is_said() {
        let refused = |change: fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            match facts.judge() {
                Verdict::Refuse(reason) => reason,
                other => panic!("{other:?}"),
            }
        };
        assert!(refused(|facts| facts.may_replicate = false).contains("ALTER ROLE \"ann\" REPLICATION"));
        assert!(refused(|facts| facts.wal_level = "minimal".into()).contains("wal_level = replica"));
        assert!(refused(|facts| facts.wal_senders = 1).contains("max_wal_senders"));
        assert!(refused(|facts| facts.tablespaces = 1).contains("tablespaces"));
    }

    #[test]
    fn commits_wait_for_us_only_if_no_other_may_confirm_in_our_place() {
        for setting in [
            "sixfold",
            "Sixfold",
            "\"sixfold\"",
            "FIRST 2 (sixfold, a)",
            "2 (a,sixfold)",
            "ANY 2 (a, sixfold)",
        ] {
            assert!(waits_for(setting, "sixfold"), "{setting}");
        }
        for setting in [
            "",
            "*",
            "a",
            "sixfold, a",
            "ANY 1 (a, sixfold)",
            "FIRST 1 (sixfold, a)",
            "2 (sixfold, *)",
            "FIRST x (",
            "sixfold2",
        ] {
            assert!(!waits_for(setting, "sixfold"), "{setting}");
        }
        let unset = facts().fault_of_waiting("sixfold").unwrap();
        assert!(unset.contains("SET synchronous_standby_names = 'sixfold'"), "{unset}");
        let set = Facts { standby_names: "sixfold".into(), ..facts() };
        assert_eq!(set.fault_of_waiting("sixfold"), None);
        let apply = Facts { synchronous_commit: "remote_apply".into(), ..set };
        assert!(apply.fault_of_waiting("sixfold").unwrap().contains("remote_apply"));
    }
}
