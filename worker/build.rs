//! Tells the linker where the worker finds libtorch at run time: the prefix it was built against, or a
//! `libtorch` folder beside the binary.

fn main() {
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/libtorch/torch/lib");
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags");
    }
}
