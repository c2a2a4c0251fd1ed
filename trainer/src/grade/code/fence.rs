//! Finds code in Markdown.

const FENCE: &str = "```";

/// Names of Python after a fence.
const PYTHON: [&str; 3] = ["python", "python3", "py"];

/// The last fenced block of Python, or else the last one without a language. A block that does not end
/// extends to the end of the text.
pub(crate) fn python_block(markdown: &str) -> Option<String> {
    let (mut named, mut unnamed) = (None, None);
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.trim().strip_prefix(FENCE) else { continue };
        // In a list, the lines of a block have the indent of its fence.
        let indent = line.len() - line.trim_start().len();
        let inner = lines.by_ref().take_while(|line| line.trim() != FENCE);
        let code: String = inner.map(|line| format!("{}\n", without_indent(line, indent))).collect();
        match language.trim().to_lowercase().as_str() {
            "" => unnamed = Some(code),
            name if PYTHON.contains(&name) => named = Some(code),
            _ => {}
        }
    }
    named.or(unnamed)
}

/// The line without this number of leading blanks, or without those that it has.
fn without_indent(line: &str, indent: usize) -> &str {
    let blanks = line.bytes().take(indent).take_while(u8::is_ascii_whitespace).count();
    line.get(blanks..).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_python_block_counts() {
        let text = "Try:\n```python\nx = 1\n```\nBetter:\n```Python\nx = 2\nif x:\n    y = 3\n```\nRun it:\n```sh\npython x.py\n```\n";
        assert_eq!(python_block(text).unwrap(), "x = 2\nif x:\n    y = 3\n");
    }

    #[test]
    fn a_block_without_a_name_counts_if_none_is_named() {
        assert_eq!(python_block("```\nx = 1\n```").unwrap(), "x = 1\n");
        assert_eq!(python_block("```\nx = 1\n```\n```py\nx = 2\n```\n```\n1\n```").unwrap(), "x = 2\n");
    }

    #[test]
    fn an_indented_or_open_block_is_read() {
        assert_eq!(
            python_block("1. So:\n   ```python\n   if x:\n       y\n\n   ```").unwrap(),
            "if x:\n    y\n\n"
        );
        assert_eq!(python_block("```python\nx = 1").unwrap(), "x = 1\n");
    }

    #[test]
    fn text_without_a_block_has_none() {
        for text in ["", "x = 1", "```json\n{}\n```", "`x = 1`"] {
            assert_eq!(python_block(text), None, "{text}");
        }
    }
}
