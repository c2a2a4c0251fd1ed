//! Streams the rows of JSON Lines and CSV files in bounded memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

/// Longest line of JSON Lines, in bytes. A file without line ends would fill the memory.
const MAX_LINE: u64 = 64 << 20;

/// The field with what the same user said before a prompt, oldest first.
pub const CONTEXT_FIELD: &str = "context";

/// One row, and its position in the file.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its fields. In CSV, all of them are texts.
    pub fields: Map<String, Value>,
    file: Arc<str>,
    line: u64,
}

impl Record {
    /// A field that must be a text.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn text(&self, field: &str) -> Result<&str> {
        let value = self.field(field)?;
        value
            .as_str()
            .with_context(|| format!("{self}: the field {field:?} must be a string{}", quote(value)))
    }

    /// A field with a list of texts; empty if it is missing or null, or, as in CSV, an empty text.
    ///
    /// # Errors
    /// If it is something else.
    pub fn texts_if_any(&self, field: &str) -> Result<Vec<String>> {
        let texts = match self.fields.get(field) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::String(text)) if text.is_empty() => Some(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        texts.with_context(|| format!("{self}: the field {field:?} must be a list of strings"))
    }

    fn field(&self, name: &str) -> Result<&Value> {
        let given = || self.fields.keys().map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ");
        self.fields
            .get(name)
            .with_context(|| format!("{self}: the field {name:?} is missing among {}", given()))
    }

    /// A field that must be a finite number, or a text that is one, as in CSV.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn number(&self, field: &str) -> Result<f64> {
        let number = match self.fields.get(field) {
            Some(Value::Number(number)) => number.as_f64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(Value::Bool(truth)) => Some(f64::from(u8::from(*truth))),
            _ => None,
        };
        let number = number.filter(|number| number.is_finite());
        number.with_context(|| format!("{self}: the field {field:?} must be a number"))
    }

    /// A number, as by [`Self::number`], or none if the field is missing, null or empty.
    ///
    /// # Errors
    /// If it is something else.
    pub fn number_if_any(&self, field: &str) -> Result<Option<f64>> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
            Some(_) => self.number(field).map(Some),
        }
    }

    /// A field with labels: a list, or as CSV has them, a text with `|` between them.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn labels(&self, field: &str) -> Result<Vec<&str>> {
        let value = self.field(field)?;
        let labels = match value {
            Value::String(text) => {
                Some(text.split('|').map(str::trim).filter(|label| !label.is_empty()).collect())
            }
            Value::Array(list) => list.iter().map(Value::as_str).collect(),
            _ => None,
        };
        labels.with_context(|| {
            format!("{self}: the field {field:?} must be a string or a list of strings{}", quote(value))
        })
    }
}

/// The end of an error message: the type that JSON gave the value, and how to correct it.
fn quote(value: &Value) -> String {
    match value {
        Value::Bool(_) | Value::Number(_) => format!(", but is {value}: quote it"),
        Value::Array(list) => list
            .iter()
            .map(quote)
            .find(|advice| !advice.is_empty())
            .unwrap_or_else(|| ", but is a list".to_owned()),
        Value::Null => ", but is null".to_owned(),
        Value::String(_) | Value::Object(_) => String::new(),
    }
}

impl std::fmt::Display for Record {
    /// Its file and line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)
    }
}

/// Rows in their order. They end after an error.
pub type Records = Box<dyn Iterator<Item = Result<Record>> + Send>;

/// The rows of a file: CSV with a header if its name ends in `.csv`, else JSON Lines. `-` is standard input.
///
/// # Errors
/// At once if the file cannot be opened; later for each invalid row. The errors name the file and the line.
pub fn read(path: &Path) -> Result<Records> {
    if path == Path::new("-") {
        return Ok(json_lines(BufReader::new(stdin()), "standard input".into()));
    }
    let name: Arc<str> = path.display().to_string().into();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    match path.extension().is_some_and(|extension| extension == "csv") {
        true => csv_rows(file, name),
        false => Ok(json_lines(BufReader::new(file), name)),
    }
}

/// All rows of files, and of the `.jsonl` and `.csv` files of folders.
///
/// # Errors
/// If one cannot be read, or there is no row; the error names file and line.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for file in paths.iter().map(|path| files(path)).collect::<Result<Vec<_>>>()?.concat() {
        for record in read(&file)? {
            records.push(record?);
        }
    }
    let names = || paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    ensure!(!records.is_empty(), "{} has no rows", names());
    Ok(records)
}

/// The path itself, or the files of a folder.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir().with_context(|| format!("cannot read {}", path.display()))? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl" || extension == "csv"));
    files.sort();
    ensure!(!files.is_empty(), "{} has no .jsonl and no .csv files", path.display());
    Ok(files)
}

fn json_lines(mut reader: impl BufRead + Send + 'static, file: Arc<str>) -> Records {
    let mut line = 0;
    let mut next = move || -> Result<Option<Record>> {
        loop {
            line += 1;
            let mut bytes = Vec::new();
            let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut bytes);
            let place = || format!("{file}, line {line}");
            if read.with_context(place)? == 0 {
                return Ok(None);
            }
            if bytes.len() as u64 >= MAX_LINE {
                bail!("{}: the line is longer than {} MiB", place(), MAX_LINE >> 20);
            }
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).trim_ascii();
            if !text.is_empty() {
                let fields = serde_json::from_slice(text)
                    .with_context(|| format!("{}: expected a JSON object", place()))?;
                return Ok(Some(Record { fields, file: file.clone(), line }));
            }
        }
    };
    until_error(move || next().transpose())
}

fn csv_rows(file: File, name: Arc<str>) -> Result<Records> {
    let mut rows = csv::Reader::from_reader(BufReader::new(file));
    let header = rows.headers().with_context(|| format!("{name}: no CSV header"))?.clone();
    let mut rows = rows.into_records();
    Ok(until_error(move || {
        let row = rows.next()?.with_context(|| format!("{name} is not valid CSV"));
        Some(row.map(|row| {
            let line = row.position().map_or(0, csv::Position::line);
            let field = |(key, value): (&str, &str)| (key.trim().to_owned(), Value::from(value));
            Record { fields: header.iter().zip(&row).map(field).collect(), file: name.clone(), line }
        }))
    }))
}

/// The results of `next`, up to the end or the first error.
fn until_error(mut next: impl FnMut() -> Option<Result<Record>> + Send + 'static) -> Records {
    let mut over = false;
    Box::new(std::iter::from_fn(move || {
        let item = if over { None } else { next() };
        over = !matches!(item, Some(Ok(_)));
        item
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(name: &str, content: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        (folder, path)
    }

    #[test]
    fn json_lines_and_csv_give_the_same_rows() {
        let (json, csv) = (
            "\u{feff}{\"text\": \"a, b\", \"weak\": 1}\r\n\n{\"text\": \"c\", \"weak\": 0}",
            "\u{feff}text,weak\r\n\"a, b\",1\nc,0\n",
        );
        for (name, content) in [("rows.jsonl", json), ("rows.csv", csv)] {
            let (_folder, path) = write(name, content);
            let rows = read_all(&[path]).unwrap();
            let read: Vec<_> =
                rows.iter().map(|row| (row.text("text").unwrap(), row.number("weak").unwrap())).collect();
            assert_eq!(read, [("a, b", 1.0), ("c", 0.0)], "{name}");
            assert!(rows[1].to_string().ends_with("line 3"), "{name}: {}", rows[1]);
        }
    }

    #[test]
    fn a_folder_is_its_files() {
        let (folder, _) = write("b.jsonl", "{\"text\": \"2\"}");
        std::fs::write(folder.path().join("a.csv"), "text\n1\n").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "not data").unwrap();
        let rows = read_all(&[folder.path().to_owned()]).unwrap();
        assert_eq!([&rows[0], &rows[1]].map(|row| row.text("text").unwrap()), ["1", "2"]);
    }

    #[test]
    fn an_invalid_row_is_named_with_its_line_and_ends_the_rows() {
        for (name, content, wrong) in [
            ("a.jsonl", "{\"text\": \"1\"}\n[1]\n{}", "a.jsonl, line 2: expected a JSON object"),
            ("a.jsonl", "{\"text\": \"1\"}\n{\"text\"", "a.jsonl, line 2"),
            ("a.csv", "text,label\n1,2\n3\n", "line: 3"),
        ] {
            let (_folder, path) = write(name, content);
            let mut rows = read(&path).unwrap();
            assert!(rows.next().unwrap().is_ok());
            let error = format!("{:#}", rows.next().unwrap().unwrap_err());
            assert!(error.contains(wrong), "{error}");
            assert!(rows.next().is_none());
        }
        let (_folder, path) = write("a.jsonl", "\n");
        assert!(read_all(&[path]).unwrap_err().to_string().contains("no rows"));
    }

    #[test]
    fn fields_of_another_kind_are_named() {
        let (_folder, path) = write("a.jsonl", r#"{"text": 1, "label": ["a", "b"], "weak": "much"}"#);
        let row = &read_all(&[path]).unwrap()[0];
        assert_eq!(row.number_if_any("none").unwrap(), None);
        assert!(row.number_if_any("weak").is_err());
        for (error, wrong) in [
            (row.text("text"), "the field \"text\" must be a string, but is 1: quote it"),
            (row.text("label"), "the field \"label\" must be a string, but is a list"),
            (row.text("none"), "the field \"none\" is missing among \"text\", \"label\", \"weak\""),
        ] {
            let error = error.unwrap_err().to_string();
            assert!(error.ends_with(&format!("a.jsonl, line 1: {wrong}")), "{error}");
        }
        assert!(row.number("weak").unwrap_err().to_string().contains("\"weak\" must be a number"));
    }

    #[test]
    fn labels_are_a_list_or_have_bars_between_them() {
        let rows = r#"{"label": ["a", "b|c"]}
            {"label": " a | b|"}
            {"label": ["a", false]}"#;
        let (_folder, path) = write("a.jsonl", rows);
        let rows = read_all(&[path]).unwrap();
        assert_eq!(rows[0].labels("label").unwrap(), ["a", "b|c"]);
        assert_eq!(rows[1].labels("label").unwrap(), ["a", "b"]);
        let error = rows[2].labels("label").unwrap_err().to_string();
        assert!(
            error.contains("line 3") && error.ends_with("a list of strings, but is false: quote it"),
            "{error}"
        );
    }
}
