//! Laws of a restore: everything that is in the snapshot is dealt out, and once.

use millpond_checkpoint::RestorePlan;
use millpond_types::KeyGroupRange;

use crate::in_flight;
use crate::job::{COUNT, SOURCE};
use crate::state::{self, Content};
use crate::world::World;

impl World {
    /// Each split, key group, transaction and record in flight has one subtask, and each element of a union
    /// state is with all.
    pub(crate) fn check_plan(&mut self, m: usize, plan: &RestorePlan, directory: &str) {
        let Some(snapshot) = self.disk.snapshot(directory) else {
            return;
        };
        let graph = &self.masters[m].graph;
        let mut expected = state::content_of(&snapshot.metadata, graph);
        let mut dealt = Content::default();
        let mut union_is_whole = true;
        for vertex in &graph.vertices {
            for subtask in 0..vertex.parallelism {
                let Some(restored) = plan.operator(vertex.operators[0].id, subtask) else {
                    continue;
                };
                if vertex.index == SOURCE {
                    dealt.positions.extend(state::positions(restored));
                    let mut union = state::union_positions(restored);
                    union.sort_unstable();
                    union_is_whole &= union == expected.union_positions;
                } else if vertex.index == COUNT {
                    let (parallelism, max) = (vertex.parallelism, vertex.max_parallelism);
                    let range = KeyGroupRange::of_subtask(subtask, parallelism, max);
                    let own = state::key_group_files(restored, range);
                    dealt.files.extend(own.into_values());
                    dealt
                        .to_count
                        .extend(in_flight::of_key_groups(restored, &self.job, range));
                } else {
                    dealt.transactions.extend(state::transactions(restored));
                    let own = in_flight::of_subtask(restored, subtask, vertex.parallelism);
                    dealt.to_sink.extend(own);
                }
            }
        }
        dealt.union_positions.clone_from(&expected.union_positions);
        dealt.sort();
        expected.sort();
        self.law(union_is_whole, || {
            format!("a subtask does not restore the whole of the union state of \"{directory}\"")
        });
        self.law(dealt == expected, || {
            format!("of \"{directory}\" is restored {dealt:?}, and it holds {expected:?}")
        });
    }
}
