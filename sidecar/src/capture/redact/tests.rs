//! What is replaced, and what stays.

use std::sync::LazyLock;

use super::*;

/// Compiled once, because that takes longer than most tests.
static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| Redactor::new(Redaction::default()));

fn redact(text: &str) -> String {
    REDACTOR.redact(text).into_owned()
}

#[test]
fn every_pattern_compiles() {
    for (pattern, _) in Kind::ALL.iter().flat_map(|kind| kind.patterns()) {
        Regex::new(pattern).unwrap();
    }
}

#[test]
fn emails_are_replaced() {
    for (text, expected) in [
        ("Write to Ann.O'Neil+x@mail.example.co.uk, please", "Write to [email], please"),
        ("größe@münchen.example <a@b.de>", "[email] <[email]>"),
        ("ann [at] example.com, bob＠example.com", "[email], [email]"),
        ("https://x.example/?mail=ann%40example.com&y=1", "https://x.example/?mail=[email]&y=1"),
    ] {
        assert_eq!(redact(text), expected);
    }
}

#[test]
fn numbers_of_five_digits_and_more_are_replaced() {
    for (text, expected) in [
        ("call +49 (0) 151 / 2345-678 today", "call [number] today"),
        ("card 4111 1111 1111 1111.", "card [number]."),
        ("SSN 078-05-1120, born 1990-02-17", "SSN [number], born [number]"),
        ("IBAN DE89 3704 0044 0532 0130 00!", "IBAN [number]!"),
        ("هاتف ٠٥٠١٢٣٤٥٦٧", "هاتف [number]"),
        ("电话:13800138000。", "电话:[number]。"),
        ("card 4111_1111_1111_1111, call 555–123–4567", "card [number], call [number]"),
        ("order12345678 and id_1234567", "order[number] and id_[number]"),
        ("call 415 - 555 - 1234", "call [number]"),
        ("card 4111 - 1111 - 1111 - 1111", "card [number]"),
        ("415.5551234, +49.15123456, 030.1234567", "[number], [number], [number]"),
        ("call 6123 4567 or 06\u{202f}12\u{202f}34\u{202f}56\u{202f}78", "call [number] or [number]"),
        ("add 1234 and 99", "add 1234 and 99"),
        ("in 2024, 3 of 10", "in 2024, 3 of 10"),
    ] {
        assert_eq!(redact(text), expected);
    }
}

#[test]
fn keys_are_replaced() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
    for secret in [
        "sk-proj-abcdefghij0123",
        "sk-ant-api03-AAAAbbbbCCCCdddd",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "xoxb-123456789012-abcdefghijkl",
        "AKIAIOSFODNN7EXAMPLE",
        "gsk_abcd1234efgh",
        "xai-abcd1234efgh",
        "SG.abcd1234.efgh5678",
        "shpat_0123456789abcdef",
        "hvs.CAESIabcd1234",
        "AIzaSyA-1234567890abcdefghijklmnopqrstu",
        "nvapi-abcdefghijklmnop_1234",
        jwt,
        "d41d8cd98f00b204e9800998ecf8427e",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1",
    ] {
        assert_eq!(redact(&format!("use {secret} here")), "use [key] here", "{secret}");
    }
    for (text, expected) in [
        ("password: hunter22 works", "[key] works"),
        ("the password is 'swordfish', he said", "the [key], he said"),
        ("OPENAI_API_KEY=abcsecret and DB_PASSWORD=hunter22", "[key] and [key]"),
        ("clientSecret: 'a b c', next", "[key], next"),
        ("mysql --password hunter22 -u me", "mysql [key] -u me"),
        (r#"{"password": "pass word, with \"quotes\" in it"}"#, r#"{"[key]}"#),
        (r#"{\"password\": \"hunter22\"}"#, r#"{\"[key]}"#),
        ("Authorization: Bearer abc.def-123456789", "[key]"),
        ("Authorization: Token abcdefgh", "[key]"),
        ("postgres://user:pa55@db.example/x", "[key]db.example/x"),
        ("redis://:secretpw@host and amqp://u:p@ss@host", "[key]host and [key]host"),
        ("https://x.example/?access_token=abcd1234&y=1", "https://x.example/[key]&y=1"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter", "[key]\nafter"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----.", "[key]."),
        ("-----BEGIN PRIVATE KEY-----\nMIIE and no end", "[key]"),
    ] {
        assert_eq!(redact(text), expected);
    }
}

#[test]
fn letters_beside_a_number_or_a_key_do_not_hide_it() {
    for (text, expected) in [
        ("我的手机号是13800138000请回电", "我的手机号是[number]请回电"),
        ("身份证110101199003074514的持有人", "身份证[number]的持有人"),
        ("私のカード番号は4111111111111111です", "私のカード番号は[number]です"),
        ("мой номер89161234567спасибо", "мой номер[number]спасибо"),
        ("DNI 12345678Z", "DNI [number]Z"),
        ("12345678EUR", "[number]EUR"),
        ("账号GB29NWBK60161331926819的人", "账号[number]的人"),
        ("我的密钥是sk-proj-abcd1234efgh5678", "我的密钥是[key]"),
        ("AWS的密钥AKIAIOSFODNN7EXAMPLE泄露", "AWS的密钥[key]泄露"),
        ("ключghp_abcd1234efgh5678і", "ключ[key]і"),
        ("令牌eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4的", "令牌[key]的"),
        ("数据库postgres://user:pa55@db.example/x", "数据库[key]db.example/x"),
        ("请求头Authorization: Token abcdefgh", "请求头[key]"),
        ("请求头Bearer abc.def-123456789的", "请求头[key]的"),
        ("散列d41d8cd98f00b204e9800998ecf8427e的", "散列[key]的"),
        ("密码是hunter22请记住，谢谢", "[key]请记住，谢谢"),
        ("我的password为：hunter22 谢谢", "[key] 谢谢"),
        ("密码：hunter22。谢谢", "[key]。谢谢"),
        ("密码是hunter22token is missing", "[key] is missing"),
    ] {
        assert_eq!(redact(text), expected);
    }
}

/// Every letter of Unicode is before and after the same number, and the same key.
#[test]
fn no_letter_hides_a_number_or_a_key() {
    let letters = (char::MIN..=char::MAX).filter(|it| it.is_alphabetic());
    let (number, key) = ("13800138000", "AKIAIOSFODNN7EXAMPLE");
    let numbers: String = letters.clone().map(|letter| format!("{letter}{number}{letter}\n")).collect();
    assert!(!redact(&numbers).contains(|it: char| it.is_ascii_digit()));
    let others = letters.filter(|it| !it.is_ascii());
    let keys: String = others.map(|letter| format!("{letter}{key}{letter}\n")).collect();
    assert!(!redact(&keys).contains("AKIA"));
}

#[test]
fn a_number_of_any_length_between_any_letters_is_replaced() {
    let letters: Vec<char> = (char::MIN..=char::MAX).filter(|it| it.is_alphabetic()).collect();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let word = |random: &mut fastrand::Rng| -> String {
            (0..random.usize(1..6)).map(|_| letters[random.usize(..letters.len())]).collect()
        };
        let number: String = (0..random.usize(5..40)).map(|_| random.digit(10)).collect();
        let text = format!("{}{number}{}", word(&mut random), word(&mut random));
        assert!(!redact(&text).contains(|it: char| it.is_ascii_digit()), "{text}");
    }
}

#[test]
fn a_secret_is_found_after_a_text_that_looks_like_its_name() {
    for (text, expected) in [
        ("secrets:\n  password: hunter22", "secrets:\n  [key]"),
        ("tokens:\n  api_key: abcd1234efgh", "tokens:\n  [key]"),
        ("The secret token: hunter22x", "The secret [key]"),
        ("password\npassword: hunter22", "password\n[key]"),
        ("secret api_key2: hunter22", "[key]"),
        ("token token2 = hunter22", "[key]"),
        ("password \"hunter22\" and token: 'abcd1234", "[key]\" and [key]"),
        (
            "http://localhost:8080/x,postgres://user:pa55@db.example",
            "http://localhost:8080/x,[key]db.example",
        ),
        ("redis://:a1@one,redis://:b2@two", "[key]two"),
    ] {
        assert_eq!(redact(text), expected);
    }
}

/// These texts have a match, or the beginning of one, every few characters. In quadratic time, the test would take many minutes.
#[test]
fn texts_that_match_everywhere_take_linear_time() {
    for unit in [
        "password:",
        "pwd1:",
        "token ",
        "sk-",
        "a://:",
        "http://h:80/",
        "AA11",
        "1-",
        "Bearer ",
        "密码是",
        "a@",
    ] {
        let text = unit.repeat((1 << 20) / unit.len());
        for text in [format!("{text}@"), format!("{text}x1")] {
            assert!(!redact(&text).is_empty());
        }
    }
}

#[test]
fn usual_prose_and_code_stay() {
    for text in [
        "What is a token, and why is the secret of success so simple?",
        "The API key is missing, the token is expired, and a password is required.",
        "fn main() { let password_field = form.input(\"name\"); }",
        "let token = tokenizer.next(); type Token = { token: string }",
        "Übersetze: 'Guten Tag' ins Französische.",
        "x = y @ z  # matrix product",
        "internationalization_of_configuration_parameters",
        "see src/Components/Settings/Dialogs/AccountButton2/index",
        "from huggingface_hub import hf_hub_download_from_path; sk-learn-contrib-package; rk4_integration_method",
        "npm-check-updates-install and sk_buff_alloc_function",
        "http://localhost:8080/users/@ann",
        "pi is 3.14159, 1990-2000, 1 2 3 4 5 6 7, 12 * 34 - 56 / 78 + 90, 12 - 5, 1200 - 500",
        "token是自然语言处理中的基本单位，例如GPT-4使用它；密码是什么？BASIC 语言是一种适合初学者的程序设计语言",
        "MS15 THE BIG CAT",
    ] {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn kinds_can_be_named() {
    let emails = Redactor::new("emails".parse().unwrap());
    assert_eq!(emails.redact("a@b.de 1234567"), "[email] 1234567");
    assert_eq!(Redactor::new("none".parse().unwrap()).redact("a@b.de"), "a@b.de");
    assert_eq!("numbers, emails".parse::<Redaction>().unwrap().to_string(), "emails,numbers");
    assert_eq!("none".parse::<Redaction>().unwrap().to_string(), "none");
    assert!("names".parse::<Redaction>().unwrap_err().contains("names"));
}
