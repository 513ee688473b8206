#define _GNU_SOURCE
#include <sys/mman.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static double now(){struct timespec t;clock_gettime(CLOCK_MONOTONIC,&t);return t.tv_sec*1e6+t.tv_nsec/1e3;}
static int cmp(const void*a,const void*b){double x=*(double*)a,y=*(double*)b;return x<y?-1:x>y;}
int main(int c,char**v){
 int fd=open(v[1],O_RDONLY); long len=200L<<20, base=130L<<20; int N=450;
 double r[4][101]; 
 for(int it=0;it<101;it++) for(int m=0;m<4;m++){
  char*p=mmap(0,len,PROT_READ|PROT_WRITE|PROT_EXEC,MAP_PRIVATE,fd,base); madvise(p,len,MADV_HUGEPAGE);
  double a=now();
  for(int i=0;i<N;i++){ char*q=p+((long)i*113%N)*(len/N/4096)*4096;
    if(m==0) madvise(q,4096,23);
    else if(m==1) __asm__ volatile("orb $0,(%0)"::"r"(q):"memory");
    else if(m==2) {volatile char x=*q; (void)x; *q=x;}
    else {__asm__ volatile("lock orb $0,(%0)"::"r"(q):"memory");}
  }
  r[m][it]=now()-a; munmap(p,len);
 }
 const char*n[]={"madvise","or","read+write","lock or"};
 for(int m=0;m<4;m++){qsort(r[m],101,8,cmp);printf("%s %.2f us/page (min %.2f)\n",n[m],r[m][50]/N,r[m][5]/N);}
}
