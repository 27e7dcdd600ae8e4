package forge.web;

import forge.domain.~{Entity};
import forge.service.~{Entity}Service;
import java.util.List;
import org.springframework.http.HttpStatus;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.*;

/** ~{entities} over HTTP. */
@RestController
@RequestMapping("/~{entities}")
public class ~{Entity}Controller {
    private final ~{Entity}Service service = new ~{Entity}Service();

    @GetMapping
    public List<~{Entity}> all() {
        return service.all();
    }

    @PostMapping
    @ResponseStatus(HttpStatus.CREATED)
    public ~{Entity} create(@RequestBody ~{Entity} given) {
        return service.create(given);
    }

    @GetMapping("/{id}")
    public ResponseEntity<~{Entity}> find(@PathVariable long id) {
        return ResponseEntity.of(service.find(id));
    }

    @PutMapping("/{id}")
    public ResponseEntity<~{Entity}> replace(@PathVariable long id, @RequestBody ~{Entity} given) {
        return ResponseEntity.of(service.replace(id, given));
    }

    @DeleteMapping("/{id}")
    public ResponseEntity<Void> delete(@PathVariable long id) {
        return service.delete(id)
            ? ResponseEntity.noContent().build()
            : ResponseEntity.notFound().build();
    }
}
