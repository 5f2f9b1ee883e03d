//! `#[derive(FlinkPojo)]` on an enum of structs: a base class and its subclasses.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DataEnum, DeriveInput, Error, Fields, Result};

use crate::attributes::{Container, for_each};

/// What a variant is to the base class.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Exact,
    Registered,
    Other,
}

pub(crate) fn derive(input: &DeriveInput, data: &DataEnum) -> Result<TokenStream> {
    let container = Container::of(input)?;
    let (serializer, class) = (&container.serializer, &container.class);
    if let Some(hash) = &container.hash {
        let message = "an enum of structs cannot be a key: implement FlinkKey by hand";
        return Err(Error::new_spanned(hash, message));
    }
    let ident = &input.ident;
    let mut variants = Vec::new();
    for variant in &data.variants {
        let one = match &variant.fields {
            Fields::Unnamed(fields) => fields.unnamed.first().filter(|_| fields.unnamed.len() == 1),
            Fields::Named(_) | Fields::Unit => None,
        };
        let Some(field) = one else {
            let message = "each variant holds one struct that is a FlinkPojo; an enum without \
                           fields is a FlinkEnum";
            return Err(Error::new_spanned(variant, message));
        };
        let mut role = Role::Other;
        for_each(&variant.attrs, |meta| {
            role = match () {
                () if meta.path.is_ident("exact") => Role::Exact,
                () if meta.path.is_ident("registered") => Role::Registered,
                () => return Err(meta.error("expected exact or registered")),
            };
            Ok(())
        })?;
        let is_second = variants.iter().any(|(_, _, other)| *other == Role::Exact);
        if role == Role::Exact && is_second {
            return Err(Error::new_spanned(
                variant,
                "there is one exact variant already",
            ));
        }
        variants.push((&variant.ident, &field.ty, role));
    }
    let subclass = quote!(#serializer::subclass);
    let mut registered_index = 0u8;
    let mut described = Vec::new();
    let mut writes = Vec::new();
    for (name, of_type, role) in &variants {
        let role_name = match role {
            Role::Exact => quote!(Exact),
            Role::Registered => quote!(Registered),
            Role::Other => quote!(Other),
        };
        // The base class is listed with subclasses, which its own struct does not have.
        let reader = match role {
            Role::Exact => quote!(converter),
            Role::Registered | Role::Other => quote!(reader),
        };
        described.push(quote! {
            #subclass::Variant {
                role: #subclass::Role::#role_name,
                class: <#of_type as #serializer::JavaClass>::CLASS,
                snapshot: <#of_type as #serializer::FlinkType>::serializer_snapshot,
                read: |input| {
                    <#of_type as #serializer::FlinkType>::read(input).map(#ident::#name)
                },
                converter: |previous| {
                    <#of_type as #serializer::FlinkType>::#reader(previous)
                        .map(|reader| reader.map(#ident::#name))
                },
            }
        });
        let head = match role {
            Role::Exact => TokenStream::new(),
            Role::Registered => {
                let index = registered_index;
                registered_index = registered_index.checked_add(1).ok_or_else(|| {
                    Error::new_spanned(name, "there are at most 255 registered subclasses")
                })?;
                quote!(#subclass::write_registered(#index, out);)
            }
            Role::Other => {
                quote!(#subclass::write_other(<#of_type as #serializer::JavaClass>::CLASS, out);)
            }
        };
        writes.push(quote! {
            #ident::#name(value) => {
                #head
                #serializer::FlinkType::write(value, out);
            }
        });
    }
    Ok(quote! {
        #[automatically_derived]
        impl #serializer::JavaClass for #ident {
            const CLASS: &'static str = #class;
        }

        #[automatically_derived]
        impl #serializer::subclass::Subclasses for #ident {
            const VARIANTS: &'static [#subclass::Variant<Self>] = &[#(#described),*];
        }

        #[automatically_derived]
        impl #serializer::FlinkType for #ident {
            fn serializer_snapshot() -> #serializer::SerializerSnapshot {
                #subclass::snapshot::<Self>()
            }

            fn fixed_length() -> ::core::option::Option<usize> {
                ::core::option::Option::None
            }

            fn write(&self, out: &mut ::std::vec::Vec<u8>) {
                match self {
                    #(#writes)*
                }
            }

            fn read(
                input: &mut #serializer::ByteReader<'_>,
            ) -> ::core::result::Result<Self, #serializer::Error> {
                #subclass::read(input)
            }

            fn converter(
                previous: &#serializer::SerializerSnapshot,
            ) -> ::core::result::Result<#serializer::Reader<Self>, #serializer::Incompatibility> {
                #subclass::converter(previous)
            }
        }
    })
}
