use super::*;
use crate::Settings;

fn assets(files: &[(&str, &str)]) -> (tempfile::TempDir, Assets) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let assets = Assets::scan(folder.path(), Settings::default())
        .unwrap()
        .found;
    (folder, assets)
}

fn packed(assets: &Assets) -> Vec<u8> {
    let mut bytes = vec![];
    pack(assets, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_was_packed_is_unpacked() {
    let long = format!("{}/{}.txt", "folder".repeat(12), "ü".repeat(60));
    let files = [
        ("index.html", "<p>"),
        ("_headers", "/*\n A: b"),
        (".assetsignore", "*.map"),
        ("a.map", "x"),
        (&*long, "long"),
        ("empty", ""),
    ];
    let (folder, assets) = assets(&files);
    let bytes = packed(&assets);
    assert_eq!(packed(&assets), bytes);
    let place = folder.path().join("unpacked");
    std::fs::create_dir_all(place.join("left")).unwrap();
    unpack(&*bytes, &place).unwrap();
    let unpacked = Assets::scan(&place, Settings::default()).unwrap().found;
    let paths = |assets: &Assets| -> Vec<String> {
        assets.files().map(|(path, _)| path.to_owned()).collect()
    };
    assert_eq!(paths(&unpacked), paths(&assets));
    assert_eq!(unpacked.rules(), (1, 0));
    assert!(!place.join("a.map").exists() && !place.join("left").exists());
    assert_eq!(std::fs::read(place.join(&long)).unwrap(), b"long");
}

#[test]
fn archives_that_lead_out_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |kind: EntryType, path: &str, bytes: u64| {
        let mut tar = Builder::new(GzEncoder::new(vec![], Compression::default()));
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes);
        header.set_link_name("/etc/passwd").unwrap();
        // As no well-meaning program writes it.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, &b""[..]).unwrap();
        let bytes = tar.into_inner().unwrap().finish().unwrap();
        unpack(&*bytes, &folder.path().join("in/it"))
            .unwrap_err()
            .to_string()
    };
    for path in ["../out", "/out", "a/../../out"] {
        assert!(
            refused(EntryType::Regular, path, 0).contains("leads out"),
            "{path}"
        );
    }
    assert!(refused(EntryType::Symlink, "a", 0).contains("is not a file"));
    assert!(refused(EntryType::Link, "a", 0).contains("is not a file"));
    assert!(refused(EntryType::Regular, "a", MOST_FILE_BYTES + 1).contains("larger"));
    assert!(!folder.path().join("out").exists() && !folder.path().join("in/out").exists());
}

#[test]
fn what_is_no_archive_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("in");
    assert!(matches!(
        unpack(&b"nothing"[..], &place),
        Err(UnpackError::Malformed(_))
    ));
    let (_folder, assets) = assets(&[("a", &"text".repeat(100_000))]);
    let bytes = packed(&assets);
    let half = &bytes[..bytes.len() / 2];
    assert!(matches!(
        unpack(half, &place),
        Err(UnpackError::Malformed(_))
    ));
}

#[test]
fn names_do_not_take_all_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Builder::new(GzEncoder::new(vec![], Compression::default()));
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(MOST_NAME_BYTES + 1);
    header.set_cksum();
    tar.append(&header, &[b'x'; MOST_NAME_BYTES as usize + 1][..])
        .unwrap();
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    let refused = unpack(&*bytes, &folder.path().join("in")).unwrap_err();
    assert!(refused.to_string().contains("too long a name"), "{refused}");
}

#[test]
fn more_than_may_be_unpacked_is_not_packed() {
    let (folder, _) = assets(&[("a", "")]);
    for n in 0..=MOST_ARCHIVED_BYTES / MOST_FILE_BYTES {
        let file = std::fs::File::create(folder.path().join(format!("f{n}"))).unwrap();
        file.set_len(MOST_FILE_BYTES).unwrap();
    }
    let all = Assets::scan(folder.path(), Settings::default())
        .unwrap()
        .found;
    let refused = pack(&all, std::io::sink()).unwrap_err().to_string();
    assert!(refused.contains("more than 1024 MiB together"), "{refused}");
}
