"""frametap where people already work: each module is imported only when used and needs the library it is named after."""
