package forge.domain;

/** One ~{entity}, as the specification has it. */
public record ~{Entity}(long id, ~{parameters}) {
    public ~{Entity} withId(long given) {
        return new ~{Entity}(given, ~{names});
    }
}
