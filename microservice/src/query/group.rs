//! Groups of conditions: `or=(a.eq.1,b.is.null,and(c.gt.2,not.or(d.eq.x,d.eq.y)))`.

use database::find::filter::DEPTH_LIMIT;
use database::find::{Field, Filter};

use super::condition::{Item, KindOf, Operand, build, is_operator, read_quoted};

/// Reads the group of a parameter `and`, `or`, `not.and` or `not.or`.
pub(crate) fn read_group(name: &str, text: &str, kind_of: KindOf<'_>) -> Result<Filter, String> {
    let mut cursor = Cursor { whole: text, rest: text, kind_of };
    let filter = cursor.group(name, DEPTH_LIMIT).map_err(|detail| cursor.place(&detail))?;
    match cursor.rest {
        "" => Ok(filter),
        _ => Err(cursor.place("something follows the closing parenthesis")),
    }
}

/// A text that is read from its beginning.
struct Cursor<'a> {
    whole: &'a str,
    rest: &'a str,
    kind_of: KindOf<'a>,
}

impl Cursor<'_> {
    fn place(&self, detail: &str) -> String {
        let read = &self.whole[..self.whole.len() - self.rest.len()];
        format!("{detail}, at character {}", read.chars().count() + 1)
    }

    /// Reads `(…)` after the group's name.
    fn group(&mut self, name: &str, depth: usize) -> Result<Filter, String> {
        let depth = depth.checked_sub(1).ok_or_else(|| format!("more than {DEPTH_LIMIT} levels deep"))?;
        if !self.take("(") {
            return Err("a `(` is expected".to_owned());
        }
        let mut parts = vec![self.part(depth)?];
        while self.take(",") {
            parts.push(self.part(depth)?);
        }
        if !self.take(")") {
            return Err("a `,` or `)` is expected".to_owned());
        }
        Ok(match name {
            "and" => Filter::And(parts),
            "or" => Filter::Or(parts),
            "not.and" => Filter::Not(Box::new(Filter::And(parts))),
            _ => Filter::Not(Box::new(Filter::Or(parts))),
        })
    }

    /// Reads one member of a group: another group, or a condition.
    fn part(&mut self, depth: usize) -> Result<Filter, String> {
        for name in ["not.and", "not.or", "and", "or"] {
            if self.rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')) {
                self.take(name);
                return self.group(name, depth);
            }
        }
        self.condition()
    }

    /// Reads `FIELD.[not.]OPERATOR.VALUE`; the operator is the first name that can be one.
    fn condition(&mut self) -> Result<Filter, String> {
        let mut names: Vec<&str> = Vec::new();
        let mut is_negated = false;
        let operator = loop {
            let Some(end) =
                self.rest.find(['.', ',', '(', ')']).filter(|end| self.rest[*end..].starts_with('.'))
            else {
                return Err("a condition is a field, an operator and a value, with `.` between".to_owned());
            };
            let name = &self.rest[..end];
            let is_last = !names.is_empty() && is_operator(name);
            let negates = !names.is_empty() && name == "not";
            self.rest = &self.rest[end + 1..];
            if is_last {
                break name;
            }
            match negates {
                true => is_negated = true,
                false if is_negated => return Err("an operator is expected after `not`".to_owned()),
                false => names.push(name),
            }
        };
        let spelled = names.join(".");
        let field = Field::new(spelled.as_str()).ok_or_else(|| format!("`{spelled}` is no field"))?;
        let operand = match operator {
            "in" => Operand::List(self.list()?),
            _ => Operand::One(self.item()?),
        };
        let condition = build(&field, operator, operand, self.kind_of)?;
        Ok(if is_negated { Filter::Not(Box::new(condition)) } else { condition })
    }

    fn list(&mut self) -> Result<Vec<Item>, String> {
        if !self.take("(") {
            return Err("`in` takes a list in parentheses".to_owned());
        }
        if self.take(")") {
            return Ok(Vec::new());
        }
        let mut items = vec![self.item()?];
        while self.take(",") {
            items.push(self.item()?);
        }
        match self.take(")") {
            true => Ok(items),
            false => Err("a `,` or `)` is expected".to_owned()),
        }
    }

    fn item(&mut self) -> Result<Item, String> {
        if self.rest.starts_with('"') {
            let (text, rest) = read_quoted(self.rest)?;
            self.rest = rest;
            return Ok(Item { text, quoted: true });
        }
        let end = self.rest.find([',', ')']).unwrap_or(self.rest.len());
        let text = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        Ok(Item { text, quoted: false })
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
}
