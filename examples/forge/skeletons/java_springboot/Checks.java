package forge.service;

import forge.domain.~{Entity};

/** What the service of ~{entities} has to do. */
public final class ~{Entity}ServiceChecks {
    private ~{Entity}ServiceChecks() {}

    public static int run() {
        ~{Entity}Service service = new ~{Entity}Service();
        ~{Entity} first = service.create(new ~{Entity}(0L, ~{sample}));
        expect(first.id() == 1L, "ids begin with 1");
        expect(service.find(1L).equals(java.util.Optional.of(first)), "what was created is found");
        expect(service.all().size() == 1, "it is in the list");
        expect(service.replace(9L, first).isEmpty(), "nobody replaces what is not there");
        expect(service.replace(1L, first).isPresent(), "it can be replaced by itself");
~{refusals}        expect(service.delete(1L) && !service.delete(1L), "it is deleted once");
        return ~{count};
    }

    private static void expect(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError("~{entities}: " + what);
        }
    }

    private static void refused(~{Entity}Service service, ~{Entity} given, String what) {
        try {
            service.create(given);
        } catch (IllegalArgumentException | IllegalStateException expected) {
            return;
        }
        throw new AssertionError("~{entities}: " + what);
    }
}
