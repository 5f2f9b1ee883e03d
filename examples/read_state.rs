//! Reads the state of a savepoint, of Millpond or of Flink, without the program that made it.
//!
//! ```text
//! cargo run --example read_state -- /data/savepoints/savepoint-5a1c
//! ```
//!
//! Without an argument it reads one that Flink 2.3.0 wrote and that lies in this tree. All states
//! are listed; counts by name are read as Rust values, everything else as it comes.

use millpond_state_processor::{Error, OpenSnapshot, PathMap};

const OF_FLINK: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/crates/snapshot/tests/golden/2.3.0/count-stringkey-hashmap-canonical"
);

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Error> {
    let pointer = std::env::args().nth(1);
    let pointer = pointer.as_deref().unwrap_or(OF_FLINK);
    let snapshot = OpenSnapshot::open(pointer, &PathMap::default())?;
    for operator in snapshot.operators().filter(|operator| !operator.is_empty()) {
        println!("operator {}", operator.label());
        for state in operator.keyed_states()? {
            let types = state.type_words().join(", ");
            println!("  {}: {} of {types}", state.name, state.kind.name());
        }
        // Typed: a state whose types are known.
        let mut sum = 0;
        let typed = operator.for_each_value("count", |_: String, count: i64| {
            sum += count;
            Ok(())
        });
        if typed.is_ok() {
            println!("  the counts add up to {sum}");
        }
        // Untyped: whatever there is, by the serializers that the snapshot describes.
        let mut shown = 0;
        operator.for_each_row(None, |state, row| {
            if shown < 3 {
                println!("  {} {:?} {:?}", state.name, row.key, row.content);
            }
            shown += 1;
            Ok(())
        })?;
        println!("  {shown} rows");
    }
    Ok(())
}
