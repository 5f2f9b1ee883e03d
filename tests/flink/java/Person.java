/** The POJO of the golden snapshots; its name and fields are part of their bytes. */
public class Person implements java.io.Serializable {
    public String name;
    public Integer age;
    public long score;
    public double ratio;
    public boolean active;
    public String note;
}
