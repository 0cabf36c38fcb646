//! Who said a value: a layer of the configuration, and the file, variable or flag in it.

use std::fmt;

/// Where a value comes from. Later variants win over earlier ones: this is the order of the layers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The defaults that are built in.
    BuiltIn,
    /// A configuration file, by the name it was asked for with.
    File(String),
    /// An environment variable, by its name.
    Variable(String),
    /// A flag of the command line, with its dashes.
    Flag(String),
}

impl Origin {
    /// The layer alone, for telling which of two values wins.
    pub(crate) const fn layer(&self) -> u8 {
        match self {
            Self::BuiltIn => 0,
            Self::File(_) => 1,
            Self::Variable(_) => 2,
            Self::Flag(_) => 3,
        }
    }

    /// The origin in the one string that the `config` crate carries with each value.
    pub(crate) fn to_tag(&self) -> String {
        match self {
            Self::BuiltIn => "built-in:".to_owned(),
            Self::File(name) => format!("file:{name}"),
            Self::Variable(name) => format!("variable:{name}"),
            Self::Flag(name) => format!("flag:{name}"),
        }
    }

    /// Reads what [`Origin::to_tag`] wrote.
    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        let (layer, name) = tag.split_once(':')?;
        match layer {
            "built-in" => Some(Self::BuiltIn),
            "file" => Some(Self::File(name.to_owned())),
            "variable" => Some(Self::Variable(name.to_owned())),
            "flag" => Some(Self::Flag(name.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in defaults"),
            Self::File(name) | Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_survives_the_config_crate() {
        for origin in [
            Origin::BuiltIn,
            Origin::File("flag:odd:name.yaml".to_owned()),
            Origin::Variable("SLUICE__STORE__URL".to_owned()),
            Origin::Flag("--store-url".to_owned()),
        ] {
            assert_eq!(Origin::from_tag(&origin.to_tag()), Some(origin));
        }
    }

    #[test]
    fn origins_are_ordered_as_the_layers_are() {
        let flag = Origin::Flag(String::new());
        assert!(Origin::BuiltIn < Origin::File(String::new()));
        assert!(
            Origin::Variable("z".to_owned()) < flag
                && flag.layer() > Origin::Variable(String::new()).layer()
        );
    }
}
