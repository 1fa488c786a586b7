//! Headers to and from NATS. Its client keeps them in a hash map, so where there are several their
//! order travels as a header of its own.

use async_nats::HeaderMap;
use mesos_ports::bus::Headers;

use crate::subject::RESERVED_HEADER;

/// The names in their order, with commas between.
const ORDER_HEADER: &str = "Mesos-Bus-Order";

/// Headers that were checked, as NATS wants them.
pub(super) fn encode(headers: Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    if headers.len() > 1 {
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        map.insert(ORDER_HEADER, names.join(","));
    }
    for (name, value) in headers {
        map.append(name, value);
    }
    map
}

/// The headers of the sender, without those of the adapters. A foreign sender's headers come in any order.
pub(super) fn decode(map: &HeaderMap) -> Headers {
    let mut rest: Vec<(String, std::collections::VecDeque<String>)> = map
        .iter()
        .filter(|(name, _)| !name.to_string().starts_with(RESERVED_HEADER))
        .map(|(name, values)| (name.to_string(), values.iter().map(ToString::to_string).collect()))
        .collect();
    let mut headers = Headers::new();
    if let Some(order) = map.get(ORDER_HEADER) {
        for name in order.as_str().split(',') {
            let values = rest.iter_mut().find(|(other, _)| other == name);
            if let Some(value) = values.and_then(|(_, values)| values.pop_front()) {
                headers.push((name.to_owned(), value));
            }
        }
    }
    for (name, values) in rest {
        headers.extend(values.into_iter().map(|value| (name.clone(), value)));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_order_and_repetitions() {
        let headers: Headers = [("z", "1"), ("a", "2"), ("z", "3"), ("m", ""), ("a", "4")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(decode(&encode(headers.clone())), headers);
        assert_eq!(decode(&encode(Headers::new())), Headers::new());
    }

    #[test]
    fn an_order_that_names_what_is_not_there_is_harmless() {
        let mut map = HeaderMap::new();
        map.insert(ORDER_HEADER, "b,a,a,x");
        map.insert("a", "1");
        map.insert("c", "2");
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(decode(&map), [of("a", "1"), of("c", "2")]);
    }
}
