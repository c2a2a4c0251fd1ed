//! The tests' own JSON Web Tokens, and Envoy's filter that verifies them.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use serde_json::{Value, json};

const ISSUER: &str = "https://corp.example";

/// The issuer that signs the tokens.
#[derive(Debug)]
pub struct Issuer(KeyPair);

impl Default for Issuer {
    fn default() -> Self {
        Self(KeyPair::generate_for(&PKCS_ED25519).expect("a key"))
    }
}

impl Issuer {
    /// A token with these claims.
    ///
    /// # Panics
    /// If the claims are not an object.
    #[must_use]
    pub fn token(&self, mut claims: Value) -> String {
        claims["iss"] = json!(ISSUER);
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": "1" });
        let [header, claims] = [header, claims].map(|part| BASE64.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = self.0.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", BASE64.encode(signature))
    }

    /// Envoy's filter. It rejects tokens that are not the issuer's, lets requests without a token pass, and writes the claims of
    /// others to dynamic metadata as `payload`.
    #[must_use]
    pub fn filter(&self) -> Value {
        let key = BASE64.encode(self.0.der_bytes());
        let keys =
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "1", "x": key }] });
        let provider = json!({
            "issuer": ISSUER, "local_jwks": { "inline_string": keys.to_string() }, "payload_in_metadata": "payload",
        });
        let requirements = json!([{ "provider_name": "corp" }, { "allow_missing": {} }]);
        json!({ "name": "envoy.filters.http.jwt_authn", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": { "corp": provider },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "requires_any": { "requirements": requirements } } }],
        } })
    }
}
