//! Compiles `cpp/` against the libtorch that torch-sys links.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=cpp");
    let lib: PathBuf = std::env::var_os("DEP_TCH_LIBTORCH_LIB").ok_or("torch-sys names no libtorch")?.into();
    let include = lib.parent().ok_or("libtorch's lib folder has no parent")?.join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .flag("-isystem")
        .flag(include.to_str().ok_or("libtorch's folder is not UTF-8")?)
        // Warns of libtorch's own optional arguments.
        .flag("-Wno-maybe-uninitialized")
        .files(["cpp/packed.cpp", "cpp/panels.cpp"])
        .compile("llm_router_torch_ops");
    // Here a second time, since what comes after tch must still find libtorch's symbols.
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=dylib=torch_cpu");
    println!("cargo:rustc-link-lib=dylib=c10");
    // Tests run without LD_LIBRARY_PATH.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    Ok(())
}
