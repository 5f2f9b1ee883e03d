//! Checkpoint properties: what metadata of version 4 and later says about how a snapshot is kept.
//!
//! They are one Java object, in Java's own serialization:
//!
//! | field | type |
//! | --- | --- |
//! | discardCancelled, discardFailed, discardFinished, discardSubsumed, discardSuspended, forced, unclaimed | bool |
//! | checkpointType | `SavepointType`: formatType, name, postCheckpointAction; or `CheckpointType`: name, sharingFilesStrategy |
//!
//! Flink takes the properties of a restore from how it was asked to restore, and none from here;
//! it only insists that the object can be read. They are written because the file says what it is
//! by them.
//!
//! Source: Flink 2.3.0, classes `CheckpointProperties`, `SavepointType` and `CheckpointType`; Java
//! Object Serialization Specification, version 2.

use millpond_serializer::ByteWriter;

use crate::{Error, KeyedFormat};

const OBJECT: u8 = 0x73;
const CLASS: u8 = 0x72;
const STRING: u8 = 0x74;
const ENUM: u8 = 0x7e;
const END_OF_BLOCK: u8 = 0x78;
const NULL: u8 = 0x70;
const REFERENCE: u8 = 0x71;
/// Of a class: serializable; of an enum in addition: an enum.
const SERIALIZABLE: u8 = 0x02;
const ENUMERATION: u8 = 0x12;

const CHECKPOINT_PACKAGE: &str = "org.apache.flink.runtime.checkpoint";
const PROPERTIES_UID: i64 = 2;
const SAVEPOINT_TYPE_UID: i64 = -6_879_297_871_714_708_296;
const CHECKPOINT_TYPE_UID: i64 = -2_963_844_630_364_414_662;
/// Which object of the stream the class `Enum` is, when it is met again in a savepoint's.
const ENUM_CLASS_HANDLE: u32 = 0x007e_0009;

/// How a snapshot came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointProperties {
    /// A savepoint that was triggered, without an effect on the job.
    Savepoint(KeyedFormat),
    /// A checkpoint that is kept when the job is cancelled.
    RetainedCheckpoint,
}

impl CheckpointProperties {
    /// Returns the Java object stream.
    ///
    /// # Errors
    ///
    /// None in fact: all names are short.
    pub fn to_bytes(self) -> Result<Vec<u8>, Error> {
        let mut out = vec![0xac, 0xed, 0x00, 0x05];
        put_class(
            &format!("{CHECKPOINT_PACKAGE}.CheckpointProperties"),
            PROPERTIES_UID,
            &[
                "discardCancelled",
                "discardFailed",
                "discardFinished",
                "discardSubsumed",
                "discardSuspended",
                "forced",
                "unclaimed",
            ],
            &[("checkpointType", "runtime/checkpoint/SnapshotType")],
            &mut out,
        )?;
        match self {
            CheckpointProperties::Savepoint(format) => {
                out.put(&[0, 0, 0, 0, 0, 1, 0]);
                let action = "runtime/checkpoint/SavepointType$PostCheckpointAction";
                put_class(
                    &format!("{CHECKPOINT_PACKAGE}.SavepointType"),
                    SAVEPOINT_TYPE_UID,
                    &[],
                    &[
                        ("formatType", "core/execution/SavepointFormatType"),
                        ("name", ""),
                        ("postCheckpointAction", action),
                    ],
                    &mut out,
                )?;
                let format = match format {
                    KeyedFormat::Canonical => "CANONICAL",
                    KeyedFormat::NativeHeap | KeyedFormat::NativeRocksDb => "NATIVE",
                };
                put_enum(
                    "core.execution.SavepointFormatType",
                    format,
                    false,
                    &mut out,
                )?;
                put_string("Savepoint", &mut out)?;
                let action = "runtime.checkpoint.SavepointType$PostCheckpointAction";
                put_enum(action, "NONE", true, &mut out)?;
            }
            CheckpointProperties::RetainedCheckpoint => {
                out.put(&[0, 0, 1, 1, 0, 0, 0]);
                let strategy = "runtime/checkpoint/SnapshotType$SharingFilesStrategy";
                put_class(
                    &format!("{CHECKPOINT_PACKAGE}.CheckpointType"),
                    CHECKPOINT_TYPE_UID,
                    &[],
                    &[("name", ""), ("sharingFilesStrategy", strategy)],
                    &mut out,
                )?;
                put_string("Checkpoint", &mut out)?;
                let strategy = "runtime.checkpoint.SnapshotType$SharingFilesStrategy";
                put_enum(strategy, "FORWARD_BACKWARD", false, &mut out)?;
            }
        }
        Ok(out)
    }
}

/// Appends an object of a class without superclass, up to the values of its fields: first the
/// flags, then the objects. A type of an object without name is `String`.
fn put_class(
    class: &str,
    uid: i64,
    flags: &[&str],
    objects: &[(&str, &str)],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    // The type `String` is written once; later objects refer to it. In either kind of properties
    // only one class names it.
    out.put(&[OBJECT, CLASS]);
    out.put_utf(class)?;
    out.put_i64(uid);
    out.put_u8(SERIALIZABLE);
    out.put_u16((flags.len() + objects.len()) as u16);
    for flag in flags {
        out.put_u8(b'Z');
        out.put_utf(flag)?;
    }
    for (name, class) in objects {
        out.put_u8(b'L');
        out.put_utf(name)?;
        match *class {
            "" => put_string("Ljava/lang/String;", out)?,
            class => put_string(&format!("Lorg/apache/flink/{class};"), out)?,
        }
    }
    out.put(&[END_OF_BLOCK, NULL]);
    Ok(())
}

fn put_string(text: &str, out: &mut Vec<u8>) -> Result<(), Error> {
    out.put_u8(STRING);
    Ok(out.put_utf(text)?)
}

/// Appends a constant; `again` says that the class `Enum` was written before.
fn put_enum(class: &str, constant: &str, again: bool, out: &mut Vec<u8>) -> Result<(), Error> {
    put_enum_class(&format!("org.apache.flink.{class}"), ENUM, out)?;
    if again {
        out.put_u8(REFERENCE);
        out.put_i32(ENUM_CLASS_HANDLE as i32);
    } else {
        out.put_u8(CLASS);
        put_enum_body("java.lang.Enum", out)?;
        out.put_u8(NULL);
    }
    put_string(constant, out)
}

fn put_enum_class(class: &str, tag: u8, out: &mut Vec<u8>) -> Result<(), Error> {
    out.put(&[tag, CLASS]);
    put_enum_body(class, out)
}

fn put_enum_body(class: &str, out: &mut Vec<u8>) -> Result<(), Error> {
    out.put_utf(class)?;
    out.put_i64(0);
    out.put_u8(ENUMERATION);
    out.put_u16(0);
    out.put_u8(END_OF_BLOCK);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_have_the_lengths_that_flinks_have_and_hold_their_words() {
        let canonical = CheckpointProperties::Savepoint(KeyedFormat::Canonical);
        let bytes = canonical.to_bytes().expect("short names");
        assert_eq!(bytes.len(), 745);
        assert!(bytes.ends_with(b"\x71\x00\x7e\x00\x09\x74\x00\x04NONE"));
        let native = CheckpointProperties::Savepoint(KeyedFormat::NativeHeap);
        assert_eq!(native.to_bytes().expect("short names").len(), 742);
        let checkpoint = CheckpointProperties::RetainedCheckpoint;
        assert_eq!(checkpoint.to_bytes().expect("short names").len(), 604);
    }
}
