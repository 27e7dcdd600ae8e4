package forge.service;

import forge.domain.~{Entity};
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/** Keeps ~{entities} and checks what comes in. Knows nothing of HTTP. */
public class ~{Entity}Service {
~{constants}    private final Map<Long, ~{Entity}> kept = new ConcurrentHashMap<>();
    private final AtomicLong last = new AtomicLong();

    public List<~{Entity}> all() {
        return kept.values().stream().sorted(Comparator.comparingLong(~{Entity}::id)).toList();
    }

    public Optional<~{Entity}> find(long id) {
        return Optional.ofNullable(kept.get(id));
    }

    public synchronized ~{Entity} create(~{Entity} given) {
        check(given, 0L);
        ~{Entity} made = given.withId(last.incrementAndGet());
        kept.put(made.id(), made);
        return made;
    }

    public synchronized Optional<~{Entity}> replace(long id, ~{Entity} given) {
        if (!kept.containsKey(id)) {
            return Optional.empty();
        }
        check(given, id);
        kept.put(id, given.withId(id));
        return find(id);
    }

    public boolean delete(long id) {
        return kept.remove(id) != null;
    }

    private void check(~{Entity} given, long id) {
~{checks}    }
}
