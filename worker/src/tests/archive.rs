//! TorchScript files from source text, so that a test shows the model it runs.
//!
//! A model.pt is a zip archive of stored files: the pickled module (one without attributes here), its code and a few
//! marks. Tracing in Rust would do for models with one output only.

/// A module whose `forward` has the given signature and body, in the language of TorchScript's own files.
pub(crate) fn torchscript(arguments: &str, returns: &str, body: &str) -> Vec<u8> {
    let lines: String = body.lines().map(|line| format!("    {}\n", line.trim_end())).collect();
    let code = format!(
        "class Model(Module):\n  __parameters__ = []\n  __buffers__ = []\n  \
         def forward(self: __torch__.Model,\n    {arguments}) -> {returns}:\n{lines}"
    );
    let files: [(&str, &[u8]); 5] = [
        ("model/data.pkl", b"\x80\x02c__torch__\nModel\nq\0)\x81}(ubq\x01."),
        ("model/code/__torch__.py", code.as_bytes()),
        ("model/constants.pkl", b"\x80\x02)."),
        ("model/version", b"3\n"),
        ("model/byteorder", b"little"),
    ];
    zip(&files)
}

/// A zip archive of stored files.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in files {
        let at = u32::try_from(archive.len()).unwrap();
        let size = u32::try_from(data.len()).unwrap().to_le_bytes();
        let name_len = u16::try_from(name.len()).unwrap().to_le_bytes();
        // Version 2.0, no flags, stored, 1980-01-01 00:00.
        let mut entry = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        entry.extend(crc32(data).to_le_bytes());
        entry.extend([size, size].concat());
        entry.extend(name_len);
        archive.extend(b"PK\x03\x04");
        archive.extend(&entry);
        archive.extend([0, 0]);
        archive.extend(name.as_bytes());
        archive.extend(*data);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&entry);
        directory.extend([0; 12]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = u32::try_from(archive.len()).unwrap().to_le_bytes();
    let size = u32::try_from(directory.len()).unwrap().to_le_bytes();
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([count, count].concat());
    archive.extend([size, start].concat());
    archive.extend([0, 0]);
    archive
}

fn crc32(data: &[u8]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !data.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}
