//! What a module may declare.
//!
//! A few bytes can declare work for minutes: ten of them a function with fifty thousand locals, two of them a
//! jump that moves a thousand values. These limits keep the time and memory that compiling takes in proportion
//! to a module's size. No compiler comes near them.

use wasmparser::{CompositeInnerType, Parser, Payload};

const FUNCTIONS_MAX: u32 = 50_000;

/// Of all functions together.
const LOCALS_MAX: u64 = 4_000_000;

/// Parameters of a function or a block, and results likewise.
const VALUES_MAX: usize = 32;

/// Errors continue a sentence that begins with the policy's name. What cannot be read is left to the compiler,
/// which has a better error for it.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut locals: u64 = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::TypeSection(types)) => {
                for group in types.into_iter().map_while(Result::ok) {
                    for ty in group.into_types() {
                        let CompositeInnerType::Func(ty) = ty.composite_type.inner else { continue };
                        let values = ty.params().len().max(ty.results().len());
                        if values > VALUES_MAX {
                            return Err(format!(
                                "has a function or block with {values} parameters or results, and {VALUES_MAX} are \
                                 allowed. Pass what is more in memory"
                            ));
                        }
                    }
                }
            }
            Ok(Payload::FunctionSection(functions)) if functions.count() > FUNCTIONS_MAX => {
                return Err(format!(
                    "has {} functions, and {FUNCTIONS_MAX} are allowed. Build it without what it does not need",
                    functions.count()
                ));
            }
            Ok(Payload::CodeSectionEntry(body)) => {
                let Ok(groups) = body.get_locals_reader() else { return Ok(()) };
                locals += groups.into_iter().map_while(Result::ok).map(|(count, _)| u64::from(count)).sum::<u64>();
                if locals > LOCALS_MAX {
                    return Err(format!(
                        "has more than {LOCALS_MAX} local variables in its functions. Build it without what it does \
                         not need"
                    ));
                }
            }
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
