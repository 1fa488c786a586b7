//! Generates the types, clients and servers from `proto/`, without a system `protoc`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

/// Every file of the contract, as import paths relative to `proto/`.
const FILES: &[&str] = &[
    "mesos/v1/mesos.proto",
    "mesos/v1/agent/agent.proto",
    "mesos/v1/allocator/allocator.proto",
    "mesos/v1/executor/executor.proto",
    "mesos/v1/maintenance/maintenance.proto",
    "mesos/v1/master/master.proto",
    "mesos/v1/quota/quota.proto",
    "mesos/v1/scheduler/scheduler.proto",
    "mesos/services/v1/agents.proto",
    "mesos/services/v1/allocation.proto",
    "mesos/services/v1/link.proto",
    "mesos/services/v1/operator.proto",
    "mesos/services/v1/pools.proto",
    "mesos/services/v1/scheduler.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("../../proto");
    for file in FILES {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }
    println!("cargo:rerun-if-changed=build.rs");

    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let mut set = compiler.file_descriptor_set();

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    write_descriptors(&set, &out.join("descriptors.bin"))?;
    forget_deprecations(&mut set);
    generate_types_and_clients(set.clone())?;
    generate_servers(set, &out.join("servers"))
}

/// The descriptors serve reflection, JSON and validation; comments would only make them larger.
fn write_descriptors(set: &FileDescriptorSet, path: &Path) -> Result<(), Box<dyn Error>> {
    let mut set = set.clone();
    for file in &mut set.file {
        file.source_code_info = None;
    }
    fs::write(path, set.encode_to_vec())?;
    Ok(())
}

/// What Mesos calls deprecated is alive on the wire and has to be handled; a compiler warning at every
/// such place would say nothing.
fn forget_deprecations(set: &mut FileDescriptorSet) {
    for file in &mut set.file {
        file.message_type.iter_mut().for_each(message);
        file.enum_type.iter_mut().for_each(enumeration);
    }

    fn message(descriptor: &mut DescriptorProto) {
        for options in descriptor.field.iter_mut().filter_map(|field| field.options.as_mut()) {
            options.deprecated = None;
        }
        descriptor.nested_type.iter_mut().for_each(message);
        descriptor.enum_type.iter_mut().for_each(enumeration);
    }

    fn enumeration(descriptor: &mut EnumDescriptorProto) {
        for options in descriptor.value.iter_mut().filter_map(|value| value.options.as_mut()) {
            options.deprecated = None;
        }
    }
}

fn generate_types_and_clients(set: FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    let mut config = prost_build::Config::new();
    config.bytes(["."]).enable_type_names();
    tonic_prost_build::configure()
        .build_server(false)
        // Without it the RPC `Connect` would collide with the client's own `connect`.
        .build_transport(false)
        .compile_fds_with_config(set, config)?;
    Ok(())
}

/// A second pass over the same services: a server takes a scheduler's call as `Raw`, which keeps the
/// bytes as they came, so that fields which this build does not know are not lost.
fn generate_servers(set: FileDescriptorSet, out: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(out)?;
    tonic_prost_build::configure()
        .build_client(false)
        .out_dir(out)
        .extern_path(".mesos.v1.scheduler.Call", "crate::raw::Raw<crate::v1::scheduler::Call>")
        .extern_path(".mesos.v1", "crate::v1")
        .extern_path(".mesos.services.v1", "crate::services::v1")
        .compile_fds(set)?;
    Ok(())
}
