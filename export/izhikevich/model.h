/* izhikevich: one step of 1 ms. Written by deploy-snn 0.2.0. */
#ifndef IZHIKEVICH_H
#define IZHIKEVICH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of elements of each tensor, for one row of a batch. */
enum {
    izhikevich_size_x = 8,
    izhikevich_size_v = 8,
    izhikevich_size_u = 8,
    izhikevich_size_s = 8,
};

/* The state of one row, which the caller owns. The scratch memory of a step needs no initial value. */
typedef struct {
    float v[8]; /* v */
    float u[8]; /* u */
    struct {
        float drive[8];
        int32_t list[8];
    } work;
} izhikevich_state;

/* The inputs, each [steps, rows, elements]. */
typedef struct {
    const float *x; /* x */
} izhikevich_inputs;

/* Where the outputs are written to, each [steps, rows, elements]. Spikes are 0 or 1. */
typedef struct {
    uint8_t *s; /* s */
} izhikevich_outputs;

/* The inputs of one step as spike lists: the indices of the spikes, of 1.0 each, and their number. `dense` is scratch
   memory as large as the input: all 0 before the first call, and again after each call. */
typedef struct {
    const int32_t *x;
    int32_t x_count;
    float *x_dense;
} izhikevich_events;

/* The states in the element types of the contract, each [rows, elements]; what rows share is there once. */
typedef struct {
    float *v;
    float *u;
} izhikevich_state_arrays;

/* The contract of the model, as JSON. */
extern const char izhikevich_contract[];

/* Set the state before the first step. */
void izhikevich_initial_state(izhikevich_state *state);

/* Run one step of one row. */
void izhikevich_step(izhikevich_state *state, const izhikevich_inputs *inputs, const izhikevich_outputs *outputs);

/* Run several steps of all rows of a batch. `states` has one element for each row. */
void izhikevich_run(izhikevich_state *states, int32_t rows, int32_t steps, const izhikevich_inputs *inputs, const izhikevich_outputs *outputs);

/* Run one step of one row. Returns 0, or -1 for an index out of range; the state does not change then. */
int izhikevich_step_events(izhikevich_state *state, const izhikevich_events *events, const izhikevich_outputs *outputs);

/* The size of the state of one row, for hosts that load the model at run time. */
size_t izhikevich_state_size(void);

/* Copy the states of all rows out of the structs, or into them. Loading returns 0, or -1 if a state that holds
   spikes is neither 0 nor 1; nothing changes then. */
void izhikevich_store_state(const izhikevich_state *states, int32_t rows, const izhikevich_state_arrays *to);
int izhikevich_load_state(izhikevich_state *states, int32_t rows, const izhikevich_state_arrays *from);

#ifdef __cplusplus
}
#endif

#endif
