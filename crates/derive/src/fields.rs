//! The fields of a struct with their names in Java.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{DataStruct, DeriveInput, Error, Expr, Ident, LitStr, Path, Result, Type};

use crate::attributes::for_each;
use crate::names::{camel_case, java_order};

/// A field that is stored.
pub(crate) struct Field<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) of_type: &'a Type,
    /// Its name in Java.
    pub(crate) name: String,
    /// The Java class that declares it, if not that of the struct.
    pub(crate) declared_in: Option<LitStr>,
    /// What it holds if it is new: an `Option` as an expression.
    pub(crate) default: TokenStream,
    /// Where it stands in the struct.
    pub(crate) declared: usize,
}

/// The fields of a struct.
pub(crate) struct Fields<'a> {
    /// By their names in Java, in Java's order.
    pub(crate) stored: Vec<Field<'a>>,
    /// Those that are not stored.
    pub(crate) skipped: Vec<&'a Ident>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(input: &DeriveInput, data: &'a DataStruct, serializer: &Path) -> Result<Self> {
        let syn::Fields::Named(named) = &data.fields else {
            return Err(Error::new_spanned(
                input,
                "the fields of a POJO have names; a tuple of Rust stands for a tuple of Flink",
            ));
        };
        let mut fields = Fields {
            stored: Vec::new(),
            skipped: Vec::new(),
        };
        for (declared, field) in named.named.iter().enumerate() {
            let Some(ident) = &field.ident else {
                return Err(Error::new_spanned(field, "a field without a name"));
            };
            let of_type = &field.ty;
            let mut name = camel_case(&ident.unraw().to_string());
            let mut declared_in = None;
            let mut skip = false;
            let mut default = quote!(<#of_type as #serializer::FlinkType>::java_default());
            for_each(&field.attrs, |meta| {
                if meta.path.is_ident("rename") {
                    name = meta.value()?.parse::<LitStr>()?.value();
                } else if meta.path.is_ident("declared_in") {
                    declared_in = Some(meta.value()?.parse::<LitStr>()?);
                } else if meta.path.is_ident("skip") {
                    skip = true;
                } else if meta.path.is_ident("default") {
                    let value: Expr = match meta.input.peek(syn::Token![=]) {
                        true => {
                            let path = meta.value()?.parse::<LitStr>()?.parse::<Path>()?;
                            syn::parse_quote!(#path())
                        }
                        false => syn::parse_quote!(::core::default::Default::default()),
                    };
                    default = quote!(::core::option::Option::Some(#value));
                } else {
                    return Err(meta.error("expected rename, default, declared_in or skip"));
                }
                Ok(())
            })?;
            if skip {
                fields.skipped.push(ident);
                continue;
            }
            if let Some(other) = fields.stored.iter().find(|other| other.name == name) {
                let both = format!("\"{name}\" is the name of \"{}\" too", other.ident);
                return Err(Error::new_spanned(ident, both));
            }
            fields.stored.push(Field {
                ident,
                of_type,
                name,
                declared_in,
                default,
                declared,
            });
        }
        fields
            .stored
            .sort_by(|left, right| java_order(&left.name, &right.name));
        Ok(fields)
    }
}
