//! How the shared object is linked, so that it loads in any Envoy and any image.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return Ok(());
    }
    // Rust's unwinder is in libgcc_s.so.1, which distroless images lack. The linker finds this script in its place, and links
    // the static library.
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("link");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    println!("cargo:rustc-link-search=native={}", folder.display());
    // Callbacks are bound when they are first called: an Envoy that lacks some can still load the module, which reports that.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,lazy");
    Ok(())
}
