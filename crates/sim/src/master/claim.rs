//! Who else needs the files of a claimed snapshot, as `cluster::siblings` finds it.

use std::collections::BTreeSet;

use super::parent;
use crate::bug::Bug;
use crate::world::World;

impl World {
    /// Those of a claimed snapshot's files that others need as well, as `cluster::siblings` finds them: the
    /// snapshots in the directories that its files come from, and those of jobs that have claimed one of
    /// these.
    pub(super) fn files_of_others(&self, m: usize, claimed: &str, files: &[String]) -> Vec<String> {
        let inside = format!("{claimed}/");
        let outside: Vec<&String> = files.iter().filter(|f| !f.starts_with(&inside)).collect();
        if outside.is_empty() {
            return Vec::new();
        }
        let mut places = BTreeSet::from([parent(claimed)]);
        if self.bug != Some(Bug::NearSighted) {
            places.extend(outside.iter().map(|file| parent(parent(file))));
        }
        let own = self.masters[m].directory.as_str();
        let mut owners = self.owners_of_claims_in(&places);
        owners.remove(own);
        let others = self.disk.snapshots().filter(|(other, _)| {
            let place = parent(other);
            *other != claimed && (places.contains(place) || owners.contains(place))
        });
        let needed: BTreeSet<&String> = others.flat_map(|(_, snapshot)| &snapshot.files).collect();
        let of_others = files.iter().filter(|file| needed.contains(file));
        of_others.cloned().collect()
    }

    /// The directories of jobs that have claimed a snapshot in one of `places`, or one in the directory of
    /// such a job, and so on.
    pub(crate) fn owners_of_claims_in<'a>(
        &'a self,
        places: &BTreeSet<&'a str>,
    ) -> BTreeSet<&'a str> {
        let mut owners = BTreeSet::new();
        loop {
            let is_in = |of: &str| places.contains(parent(of)) || owners.contains(parent(of));
            let found = self.claims.iter().filter(|(of, _)| is_in(of));
            let found = found.map(|(_, owner)| self.masters[*owner].directory.as_str());
            let found: BTreeSet<&str> = found.collect();
            if found.is_subset(&owners) {
                return owners;
            }
            owners.extend(found);
        }
    }
}
