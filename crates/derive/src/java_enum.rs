//! `#[derive(FlinkEnum)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::{DataEnum, DeriveInput, Error, Fields, LitStr, Path, Result};

use crate::attributes::{Container, for_each};
use crate::names::constant_case;

pub(crate) fn derive(input: &DeriveInput, data: &DataEnum) -> Result<TokenStream> {
    let container = Container::of(input)?;
    let (serializer, class) = (&container.serializer, &container.class);
    let ident = &input.ident;
    let mut variants = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            let message = "a constant of a Java enum has no fields here; an enum of structs is a \
                           FlinkPojo with subclasses";
            return Err(Error::new_spanned(variant, message));
        }
        let mut name = constant_case(&variant.ident.unraw().to_string());
        for_each(&variant.attrs, |meta| {
            if !meta.path.is_ident("rename") {
                return Err(meta.error("expected rename"));
            }
            name = meta.value()?.parse::<LitStr>()?.value();
            Ok(())
        })?;
        if names.contains(&name) {
            let both = format!("two constants are named \"{name}\"");
            return Err(Error::new_spanned(variant, both));
        }
        names.push(name);
        variants.push(&variant.ident);
    }
    if variants.is_empty() {
        return Err(Error::new_spanned(
            input,
            "an enum without constants has no values",
        ));
    }
    let indices: Vec<_> = (0..variants.len()).collect();
    let java_enum = quote!(#serializer::java_enum);
    let key = match &container.hash {
        None => TokenStream::new(),
        Some(hash) => {
            let code = match hash.value().as_str() {
                "ordinal" => quote!(#serializer::JavaEnum::ordinal(self) as i32),
                "name" => quote!(#java_enum::hash_of_name(
                    <Self as #serializer::JavaEnum>::CONSTANTS
                        [#serializer::JavaEnum::ordinal(self)].0
                )),
                _ => {
                    let function: Path = hash.parse()?;
                    quote!(#function(self))
                }
            };
            quote! {
                #[automatically_derived]
                impl #serializer::FlinkKey for #ident {
                    fn hash_code(&self) -> i32 {
                        #code
                    }
                }
            }
        }
    };
    Ok(quote! {
        #[automatically_derived]
        impl #serializer::JavaClass for #ident {
            const CLASS: &'static str = #class;
        }

        #[automatically_derived]
        impl #serializer::JavaEnum for #ident {
            const CONSTANTS: &'static [(&'static str, Self)] =
                &[#((#names, #ident::#variants)),*];

            fn ordinal(&self) -> usize {
                match self {
                    #(#ident::#variants => #indices,)*
                }
            }
        }

        #[automatically_derived]
        impl #serializer::FlinkType for #ident {
            fn serializer_snapshot() -> #serializer::SerializerSnapshot {
                #java_enum::snapshot::<Self>()
            }

            fn fixed_length() -> ::core::option::Option<usize> {
                ::core::option::Option::Some(4)
            }

            fn write(&self, out: &mut ::std::vec::Vec<u8>) {
                #java_enum::write(self, out);
            }

            fn read(
                input: &mut #serializer::ByteReader<'_>,
            ) -> ::core::result::Result<Self, #serializer::Error> {
                #java_enum::read(input)
            }

            fn converter(
                previous: &#serializer::SerializerSnapshot,
            ) -> ::core::result::Result<#serializer::Reader<Self>, #serializer::Incompatibility> {
                #java_enum::converter(previous)
            }
        }

        #key
    })
}
