//! Compiles `cpp/` and `cuda/` against the libtorch that torch-sys links.

use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=cpp");
    println!("cargo:rerun-if-changed=cuda");
    let lib: PathBuf = std::env::var_os("DEP_TCH_LIBTORCH_LIB").ok_or("torch-sys names no libtorch")?.into();
    let include = lib.parent().ok_or("libtorch's lib folder has no parent")?.join("include");
    operators(&include)?;
    graphs(&include)?;
    // Linked a second time, because libraries after tch in the link order need libtorch's symbols, too.
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=dylib=torch_cpu");
    println!("cargo:rustc-link-lib=dylib=c10");
    // Tests run without LD_LIBRARY_PATH.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    Ok(())
}

/// Compiles the operators, which are linked into the program.
fn operators(include: &Path) -> Result<(), Box<dyn Error>> {
    compiler(include)?
        // This warning is about optional arguments in libtorch's headers.
        .flag("-Wno-maybe-uninitialized")
        .files(["cpp/copy.cpp", "cpp/memory.cpp", "cpp/packed.cpp", "cpp/panels.cpp", "cpp/panels_bf16.cpp"])
        .compile("llm_router_torch_ops");
    Ok(())
}

/// Compiles a library that is embedded in the program and loaded if CUDA is available: it needs libtorch's
/// CUDA part, which the program must not be linked to. Empty where libtorch comes without CUDA's headers.
fn graphs(include: &Path) -> Result<(), Box<dyn Error>> {
    let library =
        PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("cuda_graph.so");
    if !include.join("cuda_runtime_api.h").exists() {
        println!("cargo:warning={} has no cuda_runtime_api.h: no CUDA graphs", include.display());
        std::fs::write(library, [])?;
        return Ok(());
    }
    let status = compiler(include)?
        .get_compiler()
        .to_command()
        .args(["-shared", "-fPIC", "cuda/graph.cpp", "-o"])
        .arg(library)
        .status()?;
    if status.success() { Ok(()) } else { Err("cannot compile cuda/graph.cpp".into()) }
}

fn compiler(include: &Path) -> Result<cc::Build, Box<dyn Error>> {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").define("_GLIBCXX_USE_CXX11_ABI", "1");
    build.flag("-isystem").flag(include.to_str().ok_or("libtorch's folder is not UTF-8")?);
    Ok(build)
}
