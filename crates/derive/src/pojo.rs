//! `#[derive(FlinkPojo)]` on a struct.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{DataStruct, DeriveInput, Path, Result};

use crate::attributes::Container;
use crate::fields::{Field, Fields};

pub(crate) fn derive(input: &DeriveInput, data: &DataStruct) -> Result<TokenStream> {
    let container = Container::of(input)?;
    let (serializer, class) = (&container.serializer, &container.class);
    let fields = Fields::of(input, data, serializer)?;
    let ident = &input.ident;
    let pojo = quote!(#serializer::pojo);
    let idents: Vec<_> = fields.stored.iter().map(|field| field.ident).collect();
    let names: Vec<_> = fields.stored.iter().map(|field| &field.name).collect();
    let types: Vec<_> = fields.stored.iter().map(|field| field.of_type).collect();
    let skipped = &fields.skipped;
    let entries = fields.stored.iter().map(|field| {
        let (of_type, name) = (field.of_type, &field.name);
        let declared_in = match &field.declared_in {
            Some(class) => quote!(#class),
            None => quote!(<Self as #serializer::JavaClass>::CLASS),
        };
        quote!(#pojo::field::<#of_type>(#name, #declared_in))
    });
    let locals: Vec<_> = (0..idents.len())
        .map(|index| format_ident!("field_{index}"))
        .collect();
    let readers: Vec<_> = (0..idents.len())
        .map(|index| format_ident!("reader_{index}"))
        .collect();
    let indices: Vec<_> = (0..idents.len()).collect();
    let defaults = fields.stored.iter().map(|field| &field.default);
    let key = key(input, &container.hash, &fields, serializer)?;
    Ok(quote! {
        #[automatically_derived]
        impl #serializer::JavaClass for #ident {
            const CLASS: &'static str = #class;
        }

        #[automatically_derived]
        impl #serializer::FlinkType for #ident {
            fn serializer_snapshot() -> #serializer::SerializerSnapshot {
                #serializer::SerializerSnapshot::pojo(
                    <Self as #serializer::JavaClass>::CLASS,
                    ::std::vec![#(#entries),*],
                )
            }

            fn fixed_length() -> ::core::option::Option<usize> {
                ::core::option::Option::None
            }

            fn write(&self, out: &mut ::std::vec::Vec<u8>) {
                #pojo::write_exact(out);
                #(#pojo::write_field(&self.#idents, out);)*
            }

            fn read(
                input: &mut #serializer::ByteReader<'_>,
            ) -> ::core::result::Result<Self, #serializer::Error> {
                #pojo::read_exact(input, <Self as #serializer::JavaClass>::CLASS)?;
                #(let #locals = #pojo::read_field::<#types>(input, #names)?;)*
                ::core::result::Result::Ok(#ident {
                    #(#idents: #locals,)*
                    #(#skipped: ::core::default::Default::default(),)*
                })
            }

            fn converter(
                previous: &#serializer::SerializerSnapshot,
            ) -> ::core::result::Result<#serializer::Reader<Self>, #serializer::Incompatibility> {
                let plan = #pojo::Plan::new(previous, &[#(#names),*])?;
                #(let #readers = plan.field::<#types>(#indices, #names, #defaults)?;)*
                ::core::result::Result::Ok(#serializer::Reader::converting(move |input| {
                    #pojo::read_exact(input, <Self as #serializer::JavaClass>::CLASS)?;
                    #(let mut #locals = ::core::option::Option::None;)*
                    for step in plan.steps() {
                        match step {
                            #(#pojo::Step::Field(#indices) => #locals = #readers.read(input)?,)*
                            step => step.skip(input)?,
                        }
                    }
                    ::core::result::Result::Ok(#ident {
                        #(#idents: #readers.or_default(#locals)?,)*
                        #(#skipped: ::core::default::Default::default(),)*
                    })
                }))
            }
        }

        #key
    })
}

/// The implementation of `FlinkKey`, if a hash is declared.
fn key(
    input: &DeriveInput,
    hash: &Option<syn::LitStr>,
    fields: &Fields<'_>,
    serializer: &Path,
) -> Result<TokenStream> {
    let Some(hash) = hash else {
        return Ok(TokenStream::new());
    };
    let ident = &input.ident;
    let mut declared: Vec<&Field<'_>> = fields.stored.iter().collect();
    declared.sort_by_key(|field| field.declared);
    let idents: Vec<_> = declared.iter().map(|field| field.ident).collect();
    let codes = quote!(&[#(#serializer::FlinkKey::hash_code(&self.#idents)),*]);
    let code = match hash.value().as_str() {
        "fields" => quote!(#serializer::pojo::hash_of_fields(#codes)),
        "components" => quote!(#serializer::pojo::hash_of_components(#codes)),
        _ => {
            let function: Path = hash.parse()?;
            quote!(#function(self))
        }
    };
    Ok(quote! {
        #[automatically_derived]
        impl #serializer::FlinkKey for #ident {
            fn hash_code(&self) -> i32 {
                #code
            }

            #[inline]
            fn touch(&self) -> usize {
                0 #(^ #serializer::FlinkKey::touch(&self.#idents))*
            }
        }
    })
}
