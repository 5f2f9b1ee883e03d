//! What stands in `#[flink(...)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, DeriveInput, Error, LitStr, Path, Result};

/// The attributes of a struct or enum.
pub(crate) struct Container {
    /// The Java class as an expression of type `&'static str`.
    pub(crate) class: TokenStream,
    pub(crate) hash: Option<LitStr>,
    /// The path of the crate `millpond_serializer`.
    pub(crate) serializer: Path,
}

impl Container {
    pub(crate) fn of(input: &DeriveInput) -> Result<Self> {
        if !input.generics.params.is_empty() {
            return Err(Error::new_spanned(
                &input.generics,
                "a type with parameters has no Java class of its own",
            ));
        }
        let (mut class, mut hash, mut serializer) = (None, None, None);
        for_each(&input.attrs, |meta| {
            if meta.path.is_ident("class") {
                class = Some(meta.value()?.parse::<LitStr>()?);
            } else if meta.path.is_ident("hash") {
                hash = Some(meta.value()?.parse::<LitStr>()?);
            } else if meta.path.is_ident("crate") {
                serializer = Some(meta.value()?.parse::<LitStr>()?.parse::<Path>()?);
            } else {
                return Err(meta.error("expected class, hash or crate"));
            }
            Ok(())
        })?;
        let name = input.ident.to_string();
        let class = match class {
            Some(class) => quote!(#class),
            None => quote!(::core::concat!(::core::module_path!(), "::", #name)),
        };
        let serializer = match serializer {
            Some(path) => path,
            None => syn::parse_str("::millpond::serializer")?,
        };
        Ok(Container {
            class,
            hash,
            serializer,
        })
    }
}

/// Calls `each` for each item in the `#[flink(...)]` attributes.
pub(crate) fn for_each(
    attributes: &[Attribute],
    mut each: impl FnMut(syn::meta::ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("flink"))
        .try_for_each(|attribute| attribute.parse_nested_meta(&mut each))
}
