//! The cluster's certificate authority, and the identity that a certificate shows.

use std::{net::IpAddr, time::Duration};

use mesos_model::AgentId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use ring::digest::{SHA256, digest};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{Error, hex, random};

/// How long an authority is good for: ten years.
pub const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long a server's certificate is good for: a bit more than a year, which browsers still take.
pub const SERVER_LIFE: Duration = Duration::from_secs(397 * 24 * 3600);
/// How far back a certificate begins, for hosts whose clocks are slow.
const BACKDATED: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Certificates of one CA file at most.
const CAS_MAX: usize = 8;

/// A key and its certificate, both in PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key in PKCS#8.
    pub key: String,
}

/// Signs certificates of one cluster.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// DER; the first signs, all are trusted.
    certificates: Vec<Vec<u8>>,
    pem: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("hash", &self.hash()).finish()
    }
}

fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = random::<16>()?;
    // A positive number of full length.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn base(common_name: &str, life: Duration) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.serial_number = Some(serial()?);
    let now = std::time::SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + life).into();
    Ok(params)
}

/// A certificate authority of its own for a cluster, signed by the key itself.
///
/// # Errors
/// If the key is none.
pub fn self_signed(cluster: &str, key_pem: &str) -> Result<String, Error> {
    let key = KeyPair::from_pem(key_pem)?;
    // The number tells two authorities of one cluster apart, for libraries that look for the issuer by name.
    let mut params = base(&format!("mesos {cluster} CA {}", hex(&random::<4>()?)), CA_LIFE)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok(params.self_signed(&key)?.pem())
}

/// A new private key (ECDSA P-256) in PEM, for an authority or a server.
///
/// # Errors
/// If there are no random bytes.
pub fn new_key() -> Result<String, Error> {
    Ok(KeyPair::generate()?.serialize_pem())
}

impl Authority {
    /// Reads an authority: its certificates in PEM, of which the first is the one that signs, and that one's key.
    ///
    /// # Errors
    /// If they cannot be read, or do not belong together.
    pub fn read(certificates: &str, key: &str) -> Result<Authority, Error> {
        let ders = ders(certificates)?;
        let key =
            KeyPair::from_pem(key).map_err(|error| Error::new(format!("the CA's key cannot be read: {error}")))?;
        let (_, first) = X509Certificate::from_der(&ders[0]).map_err(|error| Error::new(error.to_string()))?;
        if first.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
            return Err(Error::new("the CA's key is not the one of its (first) certificate"));
        }
        if !first.is_ca() {
            return Err(Error::new("the (first) certificate is not one of a certificate authority"));
        }
        let issuer = Issuer::from_ca_cert_der(&ders[0].as_slice().into(), key)?;
        Ok(Authority { issuer, certificates: ders, pem: certificates.to_owned() })
    }

    /// Its certificates in PEM, which others trust.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// What pins it at joining: `sha256:` and the hash of its certificate.
    #[must_use]
    pub fn hash(&self) -> String {
        hash(&self.certificates[0])
    }

    /// A server's certificate for a key, under all these names and addresses.
    ///
    /// # Errors
    /// If a name is none.
    pub fn server(&self, key_pem: &str, hosts: &[String]) -> Result<String, Error> {
        let key = KeyPair::from_pem(key_pem)?;
        let common_name = hosts.first().map_or("mesos", |host| host.as_str());
        let mut params = base(common_name, SERVER_LIFE)?;
        params.subject_alt_names = hosts.iter().map(|host| san(host)).collect::<Result<Vec<_>, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Servers of one cluster (NATS, Redis) also open connections to each other.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&key, &self.issuer)?.pem())
    }

    /// An agent's certificate for the key of its request. Nothing else of the request is used.
    ///
    /// # Errors
    /// If the request cannot be read, or was not made with its key.
    pub fn agent(&self, request: &Request, cluster: &str, agent: &AgentId, life: Duration) -> Result<String, Error> {
        let mut params = base(agent.as_str().get(..64).unwrap_or(agent.as_str()), life)?;
        let uri = agent_uri(cluster, agent);
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&request.0.public_key, &self.issuer)?.pem())
    }

    /// Whose certificate this is, if it is an agent's of this cluster and this authority signed it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn verify_agent(&self, der: &[u8], cluster: &str) -> Result<AgentCertificate, Error> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Error::new("it is not a certificate"))?;
        let signed = self.certificates.iter().any(|authority| {
            X509Certificate::from_der(authority)
                .is_ok_and(|(_, authority)| certificate.verify_signature(Some(authority.public_key())).is_ok())
        });
        if !signed {
            return Err(Error::new("the certificate was not signed by this cluster's authority"));
        }
        if !certificate.validity().is_valid() {
            return Err(Error::new("the certificate has expired"));
        }
        let agent = agent_of(&certificate, cluster)?;
        let public_key = certificate.public_key().subject_public_key.data.to_vec();
        Ok(AgentCertificate { agent, public_key })
    }
}

/// What an agent's certificate shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCertificate {
    /// Whose it is.
    pub agent: AgentId,
    /// For which key, raw.
    pub public_key: Vec<u8>,
}

/// How an agent is named in its certificate. Its common name is for people only.
fn agent_uri(cluster: &str, agent: &AgentId) -> String {
    use mesos_model::subject::token;
    format!("mesos://{}/agent/{}", token(cluster), token(agent.as_str()))
}

fn agent_of(certificate: &X509Certificate<'_>, cluster: &str) -> Result<AgentId, Error> {
    let none = || Error::new("the certificate is not one of an agent of this cluster");
    let names = certificate.subject_alternative_name().map_err(|_| none())?.ok_or_else(none)?;
    let [GeneralName::URI(uri)] = names.value.general_names[..] else { return Err(none()) };
    let prefix = agent_uri(cluster, &AgentId::from("_"));
    let token = uri.strip_prefix(&prefix[..prefix.len() - 1]).ok_or_else(none)?;
    Ok(AgentId::from(mesos_model::subject::id_of(token).ok_or_else(none)?))
}

/// The id in an agent's certificate (PEM), for the agent itself, which knows where it has it from.
///
/// # Errors
/// If it is not an agent's.
pub fn agent_named(pem: &str) -> Result<AgentId, Error> {
    let none = || Error::new("it is not an agent's certificate");
    let ders = ders(pem)?;
    let (_, certificate) = X509Certificate::from_der(&ders[0]).map_err(|_| none())?;
    let names = certificate.subject_alternative_name().map_err(|_| none())?.ok_or_else(none)?;
    let [GeneralName::URI(uri)] = names.value.general_names[..] else { return Err(none()) };
    let token = uri.strip_prefix("mesos://").and_then(|rest| rest.split_once("/agent/")).map(|(_, token)| token);
    Ok(AgentId::from(token.and_then(mesos_model::subject::id_of).ok_or_else(none)?))
}

/// A request of an agent, whose signature shows that it has the key.
#[derive(Debug)]
pub struct Request(CertificateSigningRequestParams);

impl Request {
    /// Reads a request in PEM.
    ///
    /// # Errors
    /// If it is none, or its signature is wrong, or its key is not an Ed25519 one.
    pub fn read(pem: &str) -> Result<Request, Error> {
        if pem.len() > crate::jwt::BYTES_MAX {
            return Err(Error::new("the certificate request is too long"));
        }
        let params = CertificateSigningRequestParams::from_pem(pem)
            .map_err(|error| Error::new(format!("the certificate request cannot be used: {error}")))?;
        if params.public_key.der_bytes().len() != 32 {
            return Err(Error::new("the certificate request is not for an Ed25519 key"));
        }
        Ok(Request(params))
    }

    /// The key, raw.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        // Checked when it was read.
        self.0.public_key.der_bytes().try_into().unwrap_or_default()
    }
}

/// A request for a key.
///
/// # Errors
/// If the key cannot be read.
pub fn request(key_pem: &str) -> Result<String, Error> {
    let key = KeyPair::from_pem(key_pem)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key)?.pem()?)
}

/// The certificates of a PEM file, in DER.
///
/// # Errors
/// If there is none.
pub fn ders(text: &str) -> Result<Vec<Vec<u8>>, Error> {
    let blocks = pem::parse_many(text).map_err(|error| Error::new(format!("it is not PEM: {error}")))?;
    let ders: Vec<Vec<u8>> =
        blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE").map(pem::Pem::into_contents).collect();
    if ders.is_empty() || ders.len() > CAS_MAX {
        return Err(Error::new(format!("expected 1 to {CAS_MAX} certificates in PEM, found {}", ders.len())));
    }
    Ok(ders)
}

/// What pins an authority: `sha256:` and the hash of its certificate.
#[must_use]
pub fn hash(der: &[u8]) -> String {
    format!("sha256:{}", hex(digest(&SHA256, der).as_ref()))
}

/// When a certificate in PEM begins and ends, in seconds since 1970.
///
/// # Errors
/// If it is none.
pub fn validity(pem: &str) -> Result<(u64, u64), Error> {
    let ders = ders(pem)?;
    let (_, certificate) = X509Certificate::from_der(&ders[0]).map_err(|_| Error::new("it is not a certificate"))?;
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    let validity = certificate.validity();
    Ok((seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp())))
}

/// The names and addresses of a server's certificate in PEM.
///
/// # Errors
/// If it is none.
pub fn hosts_of(pem: &str) -> Result<Vec<String>, Error> {
    let ders = ders(pem)?;
    let (_, certificate) = X509Certificate::from_der(&ders[0]).map_err(|_| Error::new("it is not a certificate"))?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .ok()
            .map(|ip| ip.to_string()),
        _ => None,
    };
    Ok(names.map(|names| names.value.general_names.iter().filter_map(host).collect()).unwrap_or_default())
}

/// Checks the name or address of a host.
///
/// # Errors
/// Says what is expected.
pub fn check_host(host: &str) -> Result<(), Error> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = host.strip_prefix("*.").unwrap_or(host);
    if host.parse::<IpAddr>().is_ok() || (host.len() <= 253 && name.split('.').all(label)) {
        return Ok(());
    }
    let shown: String = host.escape_debug().take(60).collect();
    Err(Error::new(format!("'{shown}' is no host name or IP address")))
}

fn san(host: &str) -> Result<SanType, Error> {
    check_host(host)?;
    Ok(match host.parse::<IpAddr>() {
        Ok(ip) => SanType::IpAddress(ip),
        Err(_) => SanType::DnsName(host.to_owned().try_into()?),
    })
}

/// When to renew what is good from `begin` to `end`: at half time.
#[must_use]
pub fn renew_at((begin, end): (u64, u64)) -> u64 {
    let begin = begin + BACKDATED.as_secs();
    begin + end.saturating_sub(begin) / 2
}

/// How long an agent's certificate and its NATS user are good for unless it is said otherwise: a day.
pub const AGENT_LIFE: Duration = DAY;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token;

    fn authority() -> Authority {
        let key = new_key().unwrap();
        Authority::read(&self_signed("c", &key).unwrap(), &key).unwrap()
    }

    fn agent_key() -> String {
        pem::encode(&token::new_pkcs8().unwrap())
    }

    #[test]
    fn an_agents_certificate_shows_its_id_to_its_own_cluster_alone() {
        let authority = authority();
        let request = Request::read(&request(&agent_key()).unwrap()).unwrap();
        for id in ["0123-S0", "x y", "ü/../b"] {
            let id = AgentId::from(id);
            let pem = authority.agent(&request, "c", &id, DAY).unwrap();
            let der = &ders(&pem).unwrap()[0];
            let shown = authority.verify_agent(der, "c").unwrap();
            assert_eq!(agent_named(&pem).unwrap(), id);
            assert_eq!((shown.agent, &shown.public_key[..]), (id, &request.public_key()[..]));
            assert!(authority.verify_agent(der, "d").unwrap_err().0.contains("not one of an agent"));
            assert!(super::tests::authority().verify_agent(der, "c").unwrap_err().0.contains("not signed"));
        }
        let key = new_key().unwrap();
        let server = authority.server(&key, &["mesos://c/agent/0123-S0".to_owned()]);
        assert!(server.is_err());
        let server = authority.server(&key, &["h".to_owned()]).unwrap();
        assert!(authority.verify_agent(&ders(&server).unwrap()[0], "c").is_err(), "a server is no agent");
        assert!(authority.verify_agent(b"x", "c").is_err());
    }

    #[test]
    fn an_expired_certificate_shows_nothing() {
        let authority = authority();
        let request = Request::read(&request(&agent_key()).unwrap()).unwrap();
        let pem = authority.agent(&request, "c", &AgentId::from("a"), Duration::ZERO).unwrap();
        let (begin, end) = validity(&pem).unwrap();
        assert_eq!(end - begin, BACKDATED.as_secs());
        while crate::now() <= end + 1 {
            std::thread::yield_now();
        }
        let error = authority.verify_agent(&ders(&pem).unwrap()[0], "c").unwrap_err();
        assert!(error.0.contains("expired"), "{error}");
    }

    #[test]
    fn a_request_must_be_made_with_its_own_key() {
        let good = request(&agent_key()).unwrap();
        let block = pem::parse(&good).unwrap();
        let mut bytes = block.contents().to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let forged = pem::encode(&pem::Pem::new(block.tag(), bytes));
        assert!(Request::read(&forged).unwrap_err().0.contains("cannot be used"));
        assert!(Request::read(&request(&new_key().unwrap()).unwrap()).unwrap_err().0.contains("Ed25519"));
        assert!(Request::read("x").is_err());
    }

    #[test]
    fn an_authority_knows_its_predecessor_and_its_own_key() {
        let (old, new) = (authority(), authority());
        let request = Request::read(&request(&agent_key()).unwrap()).unwrap();
        let pem = old.agent(&request, "c", &AgentId::from("a"), DAY).unwrap();
        let both = format!("{}{}", new.pem(), old.pem());
        let key = new.issuer.key().serialize_pem();
        let rotated = Authority::read(&both, &key).unwrap();
        assert!(rotated.verify_agent(&ders(&pem).unwrap()[0], "c").is_ok());
        assert_eq!(rotated.hash(), new.hash());
        let swapped = format!("{}{}", old.pem(), new.pem());
        assert!(Authority::read(&swapped, &key).unwrap_err().0.contains("not the one"));
    }

    #[test]
    fn hosts_are_names_and_addresses() {
        for good in ["a", "a.b-c.d", "*.x.y", "10.0.0.1", "::1", "svc_1"] {
            assert!(check_host(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a..b", "-a", "https://a", "a:5050", "ä"] {
            assert!(check_host(bad).is_err(), "{bad}");
        }
        let authority = authority();
        let hosts: Vec<String> = ["a.b", "10.0.0.1", "::1"].map(str::to_owned).to_vec();
        let pem = authority.server(&new_key().unwrap(), &hosts).unwrap();
        assert_eq!(hosts_of(&pem).unwrap(), hosts);
    }
}
