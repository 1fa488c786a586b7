//! Reads protobuf by field numbers without decoding it, to find the undecoded bytes of a nested message.
//!
//! What the machines do not decide on travels from the client to the agent as the client wrote it. The
//! slices share the memory of the message they are taken from.

use bytes::Bytes;

/// Why bytes are not readable protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end within a field.
    #[error("protobuf is cut off within a field")]
    Truncated,
    /// A varint has more than ten bytes or does not fit 64 bits.
    #[error("protobuf has a varint that is too long")]
    Varint,
    /// Field number 0, or one above what protobuf allows.
    #[error("protobuf has an invalid field number")]
    FieldNumber,
    /// A group, or a wire type that does not exist.
    #[error("protobuf has the unsupported wire type {wire_type} at field {field}")]
    WireType {
        /// The field's number.
        field: u32,
        /// The wire type found.
        wire_type: u8,
    },
    /// The path or the descriptor expects a message where a plain value was found.
    #[error("protobuf field {0} is not a message")]
    NotLengthDelimited(u32),
    /// Messages are nested deeper than [`DEPTH_MAX`].
    #[error("protobuf is nested too deeply")]
    TooDeep,
}

/// How deep messages may nest; prost stops at the same depth.
pub const DEPTH_MAX: usize = 100;

/// The undecoded value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Integers, booleans, enums.
    Varint(u64),
    /// fixed64, sfixed64, double.
    Fixed64(u64),
    /// fixed32, sfixed32, float.
    Fixed32(u32),
    /// Strings, bytes, messages, packed lists.
    Bytes(&'a [u8]),
}

/// Iterates over the fields of one message, in the order in which they were written. Ends after the
/// first error.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads the fields of an encoded message.
    pub fn new(message: &'a [u8]) -> Self {
        Fields { rest: message }
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), WireError> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| WireError::FieldNumber)?;
        if number == 0 || number > 0x1fff_ffff {
            return Err(WireError::FieldNumber);
        }
        let value = match (key & 7) as u8 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            wire_type => {
                return Err(WireError::WireType { field: number, wire_type });
            }
        };
        Ok((number, value))
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                return Err(WireError::Varint);
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { WireError::Truncated } else { WireError::Varint })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The undecoded bytes of every field that `path` (field numbers from the outside in) leads to, in
/// the order of the message. No copy is made. An empty path gives the message itself.
///
/// A field that is written twice gives two slices; for one that is not repeated, [`merged`] joins
/// them as a decoder would.
pub fn slices(raw: &Bytes, path: &[u32]) -> Result<Vec<Bytes>, WireError> {
    let mut found = Vec::new();
    descend(raw, raw, path, &mut found)?;
    Ok(found)
}

fn descend(whole: &Bytes, message: &[u8], path: &[u32], found: &mut Vec<Bytes>) -> Result<(), WireError> {
    let Some((&number, deeper)) = path.split_first() else {
        // An empty slice points nowhere, so it cannot be found again in the whole.
        found.push(if message.is_empty() { Bytes::new() } else { whole.slice_ref(message) });
        return Ok(());
    };
    for field in Fields::new(message) {
        let (field_number, value) = field?;
        if field_number != number {
            continue;
        }
        let Value::Bytes(inner) = value else {
            return Err(WireError::NotLengthDelimited(number));
        };
        descend(whole, inner, deeper, found)?;
    }
    Ok(())
}

/// The bytes of a message field that is not repeated: nothing, its one slice, or what several
/// occurrences merge to (protobuf merges by concatenation).
pub fn merged(mut slices: Vec<Bytes>) -> Option<Bytes> {
    match slices.len() {
        0 | 1 => slices.pop(),
        _ => Some(slices.concat().into()),
    }
}

/// Field numbers of `mesos.v1` on the ways that the helpers below go.
mod number {
    pub(super) mod call {
        pub(crate) const SUBSCRIBE: u32 = 3;
        pub(crate) const ACCEPT: u32 = 4;
        pub(crate) const UPDATE_FRAMEWORK: u32 = 19;
    }
    pub(super) const SUBSCRIBE_FRAMEWORK_INFO: u32 = 1;
    pub(super) const UPDATE_FRAMEWORK_FRAMEWORK_INFO: u32 = 1;
    pub(super) const ACCEPT_OPERATIONS: u32 = 2;
    pub(super) const OPERATION_LAUNCH: u32 = 2;
    pub(super) const OPERATION_LAUNCH_GROUP: u32 = 7;
    pub(super) const LAUNCH_TASK_INFOS: u32 = 1;
    pub(super) const LAUNCH_GROUP_EXECUTOR: u32 = 1;
    pub(super) const LAUNCH_GROUP_TASK_GROUP: u32 = 2;
    pub(super) const TASK_GROUP_TASKS: u32 = 1;
}

/// The undecoded parts of one operation of an ACCEPT. Lists are in the order of the decoded message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationSlices {
    /// The whole `Offer.Operation`.
    pub operation: Bytes,
    /// Each `TaskInfo` of `launch.task_infos`.
    pub launch_task_infos: Vec<Bytes>,
    /// Each `TaskInfo` of `launch_group.task_group.tasks`.
    pub group_task_infos: Vec<Bytes>,
    /// The `ExecutorInfo` of `launch_group.executor`.
    pub group_executor: Option<Bytes>,
}

/// The undecoded operations of an encoded `scheduler.Call` that is an ACCEPT, one entry for each
/// operation, in order.
pub fn accept_operations(call: &Bytes) -> Result<Vec<OperationSlices>, WireError> {
    slices(call, &[number::call::ACCEPT, number::ACCEPT_OPERATIONS])?.into_iter().map(operation_slices).collect()
}

/// The undecoded parts of one encoded `Offer.Operation`.
pub fn operation_slices(operation: Bytes) -> Result<OperationSlices, WireError> {
    let launch = [number::OPERATION_LAUNCH, number::LAUNCH_TASK_INFOS];
    let group = [number::OPERATION_LAUNCH_GROUP, number::LAUNCH_GROUP_TASK_GROUP, number::TASK_GROUP_TASKS];
    let executor = [number::OPERATION_LAUNCH_GROUP, number::LAUNCH_GROUP_EXECUTOR];
    Ok(OperationSlices {
        launch_task_infos: slices(&operation, &launch)?,
        group_task_infos: slices(&operation, &group)?,
        group_executor: merged(slices(&operation, &executor)?),
        operation,
    })
}

/// The undecoded `subscribe.framework_info` of an encoded `scheduler.Call`.
pub fn subscribe_framework_info(call: &Bytes) -> Result<Option<Bytes>, WireError> {
    slices(call, &[number::call::SUBSCRIBE, number::SUBSCRIBE_FRAMEWORK_INFO]).map(merged)
}

/// The undecoded `update_framework.framework_info` of an encoded `scheduler.Call`.
pub fn update_framework_info(call: &Bytes) -> Result<Option<Bytes>, WireError> {
    slices(call, &[number::call::UPDATE_FRAMEWORK, number::UPDATE_FRAMEWORK_FRAMEWORK_INFO]).map(merged)
}
