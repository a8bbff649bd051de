//! What an object's own statements may do: what those of a Durable Object may.

use std::collections::HashSet;
use std::ffi::c_int;
use std::sync::LazyLock;

use rusqlite::ffi;

/// Tables whose names begin so are the object's own storage, and none of its SQL.
const RESERVED: &[u8] = b"_cf_";

const TRANSACTION: &str = "To execute a transaction, please use the state.storage.transaction() or \
    state.storage.transactionSync() APIs instead of the SQL BEGIN TRANSACTION or SAVEPOINT statements. The JavaScript API is \
    safer because it will automatically roll back on exceptions, and because it interacts correctly with Durable Objects' \
    automatic atomic write coalescing.";

/// What a statement was found to do when it was prepared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// Why it is refused, if SQLite's message does not say enough.
    pub refusal: Option<&'static str>,
    /// It reads a table.
    pub reads: bool,
    /// It defines tables, or whatever there is in a schema.
    pub defines: bool,
    /// It changes a table's definition. SQLite does not say what a renamed one is to be called.
    pub alters: bool,
}

/// Whether something is allowed that SQLite asks about when it prepares a statement. See
/// <https://sqlite.org/c3ref/c_alter_table.html> for what the arguments are.
pub fn allows(
    action: c_int,
    first: Option<&[u8]>,
    second: Option<&[u8]>,
    database: Option<&[u8]>,
    asked: &mut Asked,
) -> bool {
    // Here it is the other way round. What comes last is the column that is dropped.
    let (first, second, database) = match action {
        ffi::SQLITE_ALTER_TABLE => (second, database, first),
        _ => (first, second, database),
    };
    match database {
        None | Some(b"main") => {}
        Some(b"temp") => return is_read_or_update(action) && is_free(first),
        Some(_) => return false,
    }
    match action {
        ffi::SQLITE_SELECT | ffi::SQLITE_RECURSIVE | ffi::SQLITE_ANALYZE => true,
        ffi::SQLITE_TRANSACTION | ffi::SQLITE_SAVEPOINT => {
            asked.refusal = Some(TRANSACTION);
            false
        }
        ffi::SQLITE_READ => {
            asked.reads = true;
            is_free(first)
        }
        ffi::SQLITE_ALTER_TABLE => {
            asked.alters = true;
            is_free(first) && is_free(second)
        }
        ffi::SQLITE_PRAGMA => allows_pragma(first.unwrap_or_default(), second),
        ffi::SQLITE_FUNCTION => second.is_some_and(allows_function),
        ffi::SQLITE_CREATE_VTABLE | ffi::SQLITE_DROP_VTABLE => {
            is_free(first) && second.is_some_and(allows_module)
        }
        ffi::SQLITE_CREATE_INDEX
        | ffi::SQLITE_DROP_INDEX
        | ffi::SQLITE_CREATE_TRIGGER
        | ffi::SQLITE_DROP_TRIGGER => is_free(first) && is_free(second),
        ffi::SQLITE_UPDATE | ffi::SQLITE_INSERT | ffi::SQLITE_DELETE => {
            asked.defines |= first == Some(b"sqlite_master");
            is_free(first)
        }
        ffi::SQLITE_CREATE_TABLE
        | ffi::SQLITE_DROP_TABLE
        | ffi::SQLITE_CREATE_VIEW
        | ffi::SQLITE_DROP_VIEW
        | ffi::SQLITE_REINDEX => is_free(first),
        // Other databases and files, and whatever there will be.
        _ => false,
    }
}

fn is_read_or_update(action: c_int) -> bool {
    matches!(action, ffi::SQLITE_READ | ffi::SQLITE_UPDATE)
}

/// Whether a name is not one of the storage's.
fn is_free(name: Option<&[u8]>) -> bool {
    let start = name.and_then(|name| name.get(..RESERVED.len()));
    start.is_none_or(|start| !start.eq_ignore_ascii_case(RESERVED))
}

/// What an argument of a `PRAGMA` may be.
enum Argument {
    None,
    Boolean,
    Name,
    NoneOrName,
    NoneOrNumber,
    NoneOrNumberOrName,
}

fn allows_pragma(pragma: &[u8], argument: Option<&[u8]>) -> bool {
    let allowed = match pragma {
        b"table_list" => return true, // shows that there are tables of the storage, not what is in them
        b"data_version" | b"page_size" => Argument::None,
        b"case_sensitive_like"
        | b"foreign_keys"
        | b"defer_foreign_keys"
        | b"ignore_check_constraints"
        | b"legacy_alter_table"
        | b"recursive_triggers"
        | b"reverse_unordered_selects" => Argument::Boolean,
        b"table_info" | b"table_xinfo" | b"foreign_key_list" | b"index_info" | b"index_list"
        | b"index_xinfo" => Argument::Name,
        b"foreign_key_check" => Argument::NoneOrName,
        b"quick_check" => Argument::NoneOrNumberOrName,
        b"optimize" => Argument::NoneOrNumber,
        _ => return false,
    };
    let Some(argument) = argument else {
        return !matches!(allowed, Argument::Name);
    };
    match allowed {
        Argument::None => false,
        Argument::Boolean => is_boolean(argument),
        Argument::Name | Argument::NoneOrName => is_free(Some(argument)),
        Argument::NoneOrNumber => is_number(argument),
        Argument::NoneOrNumberOrName => is_number(argument) || is_free(Some(argument)),
    }
}

fn is_boolean(argument: &[u8]) -> bool {
    let words = ["true", "false", "yes", "no", "on", "off", "1", "0"];
    let is = |word: &&str| argument.eq_ignore_ascii_case(word.as_bytes());
    words.iter().any(is)
}

fn is_number(argument: &[u8]) -> bool {
    let text = std::str::from_utf8(argument).unwrap_or_default();
    let digits = text.to_ascii_lowercase();
    match digits.strip_prefix("0x") {
        Some(digits) => i32::from_str_radix(digits, 16).is_ok(),
        None => digits.parse::<i32>().is_ok(),
    }
}

fn allows_module(module: &[u8]) -> bool {
    let modules = ["fts5", "fts5vocab", "rtree", "rtree_i32"];
    let is = |known: &&str| module.eq_ignore_ascii_case(known.as_bytes());
    modules.iter().any(is)
}

/// Those that say nothing of this build of SQLite's and reach nothing outside of the database, by SQLite's names of them.
const FUNCTIONS: &str = "\
    -> ->> abs acos acosh asin asinh atan atan2 atanh avg bm25 ceil changes char coalesce concat concat_ws cos cosh count \
    cume_dist current_date current_time current_timestamp date datetime degrees dense_rank exp first_value floor format glob \
    group_concat hex highlight ifnull iif instr json json_array json_array_length json_each json_extract json_group_array \
    json_group_object json_insert json_object json_patch json_quote json_remove json_replace json_set json_tree json_type \
    json_valid jsonb jsonb_array jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert jsonb_object jsonb_patch \
    jsonb_remove jsonb_replace jsonb_set julianday lag last_insert_rowid last_value lead length like likelihood likely ln \
    load_extension log log2 lower ltrim match max min mod nth_value ntile nullif octet_length percent_rank pi pow printf quote \
    radians random randomblob rank replace round row_number rtreecheck rtrim sign sin sinh snippet soundex sqlite_drop_column \
    sqlite_rename_column sqlite_rename_quotefix sqlite_rename_table sqlite_rename_test sqrt strftime string_agg substr \
    substring sum tan tanh time timediff total total_changes trim trunc typeof unhex unicode unixepoch unlikely upper zeroblob";

fn allows_function(name: &[u8]) -> bool {
    static ALLOWED: LazyLock<HashSet<&[u8]>> = LazyLock::new(|| {
        let names = FUNCTIONS.split_ascii_whitespace();
        names.map(str::as_bytes).collect()
    });
    ALLOWED.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_allowed_by_their_whole_names() {
        assert!(allows_function(b"->") && allows_function(b"zeroblob"));
        assert!(!allows_function(b"sqlite_version") && !allows_function(b"ab"));
    }

    #[test]
    fn names_of_the_storage_are_reserved_in_any_case() {
        assert!(is_free(None) && is_free(Some(b"_cf")) && is_free(Some(b"cf_KV")));
        assert!(!is_free(Some(b"_cf_")) && !is_free(Some(b"_CF_kv")));
    }
}
