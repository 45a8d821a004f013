//! Listing a collection by pages in the order of the records' names.

use axum::body::Body;
use axum::response::Response;
use database::{Page, Query};
use http::HeaderValue;
use http::header::{CONTENT_TYPE, LINK};
use process::Problem;
use process::problem::kinds;
use serde::Serialize;

use super::Collection;
use super::representation::Representation;
use crate::body::JSON;
use crate::cursor;
use crate::fault::problem_of_read;

/// How many records a page has unless the client says otherwise.
const DEFAULT_LIMIT: u32 = 50;

/// The body of a listing.
#[derive(Serialize)]
struct Listing<'a> {
    items: Vec<Representation<'a>>,
    next: Option<&'a str>,
}

/// What a listing asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    limit: u32,
    after: Option<String>,
}

/// Answers GET and HEAD of the collection.
pub(super) async fn list(collection: &Collection, query: Option<&str>) -> Result<Response, Problem> {
    let Asked { limit, after } = read_query(query.unwrap_or_default(), collection.settings.page_limit)
        .map_err(|detail| Problem::new(kinds::MALFORMED_REQUEST).detail(detail))?;
    let question = Query::List { collection: collection.name.clone(), after, limit };
    let page = collection.database.query(&collection.namespace, &question).await;
    write_page(&collection.path, limit, &page.map_err(|error| problem_of_read(&error))?)
}

fn write_page(path: &str, limit: u32, page: &Page) -> Result<Response, Problem> {
    let next = page.next.as_deref().map(cursor::encode);
    let items = page.records.iter().map(Representation::from).collect();
    let body = serde_json::to_vec(&Listing { items, next: next.as_deref() })
        .map_err(|_| Problem::new(kinds::INTERNAL))?;
    let mut response = Response::new(Body::from(body));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    if let Some(next) = next {
        // Path and cursor need no escaping: both are made of unreserved characters.
        let link = format!("<{path}?limit={limit}&cursor={next}>; rel=\"next\"");
        if let Ok(link) = HeaderValue::try_from(link) {
            fields.insert(LINK, link);
        }
    }
    Ok(response)
}

/// Reads the query; a parameter that is not known is refused, because what it was to filter would be there.
fn read_query(query: &str, most: u32) -> Result<Asked, String> {
    let mut asked = Asked { limit: DEFAULT_LIMIT.min(most), after: None };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "limit" => {
                let limit: u32 = value.parse().ok().filter(|limit| *limit > 0).ok_or("limit is 1 or more")?;
                asked.limit = limit.min(most);
            }
            "cursor" => {
                let after = cursor::decode(value).ok_or("the cursor is not one of ours")?;
                asked.after = Some(after);
            }
            _ => return Err("the parameters are limit and cursor".to_owned()),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_how_many_and_from_where() {
        assert_eq!(read_query("", 200), Ok(Asked { limit: DEFAULT_LIMIT, after: None }));
        assert_eq!(read_query("", 10), Ok(Asked { limit: 10, after: None }));
        let query = format!("limit=7&cursor={}", cursor::encode("b"));
        assert_eq!(read_query(&query, 200), Ok(Asked { limit: 7, after: Some("b".into()) }));
        assert_eq!(read_query("limit=1000", 200).unwrap().limit, 200, "no more than the collection allows");
    }

    #[test]
    fn a_query_that_would_be_misread_is_refused() {
        for query in ["limit=0", "limit=-1", "limit", "limit=many", "cursor=", "cursor=!", "price=gte.10"] {
            assert!(read_query(query, 200).is_err(), "{query}");
        }
    }
}
