//! Earlier versions of records, kept by the batch that ends them, within what their collection declares.

use std::collections::{BTreeMap, HashSet};

use tokio_postgres::types::ToSql;

use super::columns::columns;
use super::document::Document;
use super::draft::{Draft, Key, Past, Present, Rewrite};
use crate::engine::numbers::stored;
use crate::time;
use crate::transaction::TRIM_LIMIT;

pub(super) const KEEP_FOUND: &str = include_str!("sql/keep_found_versions.sql");
const KEEP_MADE: &str = include_str!("sql/keep_made_versions.sql");
pub(super) const CUT: &str = include_str!("sql/cut_versions.sql");
pub(super) const MOVE: &str = include_str!("sql/move_versions.sql");
pub(super) const REMOVE: &str = include_str!("sql/remove_versions.sql");
pub(super) const TRIM: &str = include_str!("sql/trim_versions.sql");
const REWRITE_PRESENT: &str = include_str!("sql/rewrite_records.sql");
const REWRITE: &str = include_str!("sql/rewrite_versions.sql");

/// What [`statements`] are made of.
pub(super) const STATEMENTS: [&str; 8] =
    [KEEP_FOUND, KEEP_MADE, CUT, MOVE, REMOVE, TRIM, REWRITE_PRESENT, REWRITE];

/// How many versions of a collection whose time is over go with each batch that keeps new ones.
const TRIMMED_A_BATCH: i64 = 64;

/// A value of a statement.
type Bound<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// A statement with its values.
pub(super) struct Statement<'a> {
    sql: &'static str,
    values: Vec<Bound<'a>>,
}

impl Statement<'_> {
    /// Gives the two as a pipeline takes them.
    pub(super) fn parts(&self) -> (&'static str, Vec<&(dyn ToSql + Sync)>) {
        (self.sql, self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect())
    }
}

/// Writes what a batch does to earlier versions; it goes before the batch's records are written.
pub(super) fn statements<'a>(draft: &'a Draft<'a>) -> Vec<Statement<'a>> {
    let mut run = Run { now: time::to_stored(draft.now), ..Run::default() };
    run.statements.extend(rewrites(draft));
    let mut trimmed = BTreeMap::new();
    for past in &draft.past {
        match past {
            Past::Found(key, most) => {
                run.part(&[name(key)]);
                run.found.push(*key);
                run.cut.insert(name(key), i64::from(*most));
            }
            Past::Made(key, present, most) => {
                run.part(&[name(key)]);
                run.made.push((*key, present));
                run.cut.insert(name(key), i64::from(*most));
            }
            Past::Moved(from, to) => {
                let names = [name(from), name(&Key { collection: to, ..*from })];
                run.part(&names);
                run.parted.extend(names);
                run.moved.push((*from, to));
            }
            Past::Removed(key) => {
                run.part(&[name(key)]);
                run.parted.insert(name(key));
                run.removed.push(*key);
            }
            Past::Over(namespace, collection) => {
                trimmed.insert((*namespace, *collection), i64::from(TRIM_LIMIT));
            }
        }
        if let Past::Found(key, _) | Past::Made(key, ..) = past {
            trimmed.entry((key.namespace, key.collection)).or_insert(TRIMMED_A_BATCH);
        }
    }
    run.end();
    if !trimmed.is_empty() {
        let (names, most): (Vec<_>, Vec<i64>) = trimmed.into_iter().unzip();
        let (namespaces, collections): (Vec<&str>, Vec<&str>) = names.into_iter().unzip();
        let names: [Bound<'_>; 2] = [Box::new(namespaces), Box::new(collections)];
        let (most, now): (Bound<'_>, Bound<'_>) = (Box::new(most), Box::new(run.now));
        run.statements.push(Statement { sql: TRIM, values: names.into_iter().chain([most, now]).collect() });
    }
    run.statements
}

/// Writes versions anew, the present ones and the earlier ones. Of two of one version the later counts.
fn rewrites<'a>(draft: &'a Draft<'a>) -> Vec<Statement<'a>> {
    let named = |rewrite: &'a Rewrite<'a>| ((name(&rewrite.key), rewrite.version), rewrite);
    let latest: BTreeMap<_, _> = draft.rewrites.iter().map(named).collect();
    if latest.is_empty() {
        return Vec::new();
    }
    let keys: Vec<Key<'_>> = latest.values().map(|rewrite| rewrite.key).collect();
    let versions: Vec<i64> = latest.values().map(|rewrite| stored(rewrite.version)).collect();
    let data: Vec<&str> = latest.values().map(|rewrite| rewrite.document.data.as_str()).collect();
    let exact: Vec<Option<&str>> = latest.values().map(|rewrite| rewrite.document.exact.as_deref()).collect();
    let text: Vec<&str> = latest.values().map(|rewrite| rewrite.document.text()).collect();
    let present: [Bound<'_>; 3] = [Box::new(versions.clone()), Box::new(data), Box::new(exact)];
    let earlier: [Bound<'_>; 2] = [Box::new(versions), Box::new(text)];
    vec![
        Statement { sql: REWRITE_PRESENT, values: names(&keys).into_iter().chain(present).collect() },
        Statement { sql: REWRITE, values: names(&keys).into_iter().chain(earlier).collect() },
    ]
}

/// What can be done together: first versions are kept, then some removed, then some moved. It ends before anything
/// happens to a record whose versions it removes or moves.
#[derive(Default)]
struct Run<'a> {
    now: i64,
    found: Vec<Key<'a>>,
    made: Vec<(Key<'a>, &'a Present)>,
    /// How many each record keeps.
    cut: BTreeMap<[&'a str; 3], i64>,
    removed: Vec<Key<'a>>,
    moved: Vec<(Key<'a>, &'a str)>,
    /// The records whose versions are removed or moved, or come from elsewhere.
    parted: HashSet<[&'a str; 3]>,
    /// What ended before.
    statements: Vec<Statement<'a>>,
}

impl<'a> Run<'a> {
    /// Ends what is under way if it parts with versions of one of these records.
    fn part(&mut self, names: &[[&'a str; 3]]) {
        if names.iter().any(|name| self.parted.contains(name)) {
            self.end();
        }
    }

    /// Writes what is under way, and begins anew.
    fn end(&mut self) {
        let statements = std::mem::take(&mut self.statements);
        let Self { now, found, made, cut, removed, moved, .. } =
            std::mem::replace(self, Self { now: self.now, statements, ..Self::default() });
        if !found.is_empty() {
            let now: Bound<'_> = Box::new(now);
            self.add(KEEP_FOUND, std::iter::once(now).chain(names(&found)));
        }
        if !made.is_empty() {
            let keys: Vec<Key<'_>> = made.iter().map(|(key, _)| *key).collect();
            let versions: Vec<i64> = made.iter().map(|(_, present)| stored(present.version)).collect();
            let created_at: Vec<i64> =
                made.iter().map(|(_, present)| time::to_stored(present.created_at)).collect();
            let text = |present: &'a Present| present.document.as_deref().map_or("{}", Document::text);
            let data: Vec<&str> = made.iter().map(|(_, present)| text(present)).collect();
            let now: Bound<'_> = Box::new(now);
            let rest: [Bound<'_>; 3] = [Box::new(versions), Box::new(created_at), Box::new(data)];
            self.add(KEEP_MADE, std::iter::once(now).chain(names(&keys)).chain(rest));
        }
        if !cut.is_empty() {
            let column = |place: usize| Box::new(cut.keys().map(|name| name[place]).collect::<Vec<_>>());
            let most: Vec<i64> = cut.values().copied().collect();
            let values: [Bound<'_>; 4] = [column(0), column(1), column(2), Box::new(most)];
            self.add(CUT, values);
        }
        if !removed.is_empty() {
            self.add(REMOVE, names(&removed));
        }
        if !moved.is_empty() {
            let (keys, targets): (Vec<_>, Vec<&str>) = moved.into_iter().unzip();
            let targets: Bound<'_> = Box::new(targets);
            self.add(MOVE, names(&keys).into_iter().chain([targets]));
        }
    }

    fn add(&mut self, sql: &'static str, values: impl IntoIterator<Item = Bound<'a>>) {
        self.statements.push(Statement { sql, values: values.into_iter().collect() });
    }
}

fn names<'a>(keys: &[Key<'a>]) -> [Bound<'a>; 3] {
    columns(keys).map(|column| Box::new(column) as Bound<'_>)
}

fn name<'a>(key: &Key<'a>) -> [&'a str; 3] {
    [key.namespace, key.collection, key.id]
}
